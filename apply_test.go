package keepalive_test

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUnwrapNothing(t *testing.T) {
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	for name, conn := range map[string]net.Conn{
		"net.Pipe":                 left,
		"hidden":                   struct{ net.Conn }{left},
		"wrapped net.Pipe":         tcptest.Wrap(left),
		"twice wrapped":            tcptest.Wrap(tcptest.Wrap(left)),
		"wrapped in itself":        ouroboros{},
		"tls.Conn over a net.Pipe": tls.Client(left, &tls.Config{ServerName: "x"}),
	} {
		unsupported(t, name, conn)
	}
}

func TestNilConnection(t *testing.T) {
	if runtime.GOOS == "js" || runtime.GOOS == "wasip1" {
		t.Skipf("%s: it has no keepalive, and Apply says so first", runtime.GOOS)
	}
	for _, conn := range []net.Conn{nil, (*net.TCPConn)(nil), tcptest.Wrap(nil)} {
		for _, err := range []error{
			keepalive.Config{}.Apply(conn),
			tcptest.Err(keepalive.Get(conn)),
			tcptest.Err(keepalive.Stat(conn)),
		} {
			assert.EqualError(t, err, "keepalive: got nil, want a connection", "%#v", conn)
		}
	}
}

// ouroboros leads to itself.
type ouroboros struct{ net.Conn }

func (o ouroboros) NetConn() net.Conn { return o }

// Other sockets than TCP's take SO_KEEPALIVE and do nothing about it.
func TestOtherSockets(t *testing.T) {
	netlab.SkipOn(t, netlab.Wine, "net opens no UDP socket there, and no unix socket")
	udp, err := net.Dial("udp", "127.0.0.1:9")
	require.NoError(t, err)
	defer udp.Close()
	unsupported(t, "udp", udp)

	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil && runtime.GOOS != "linux" {
		t.Skipf("%s: %v", runtime.GOOS, err)
	}
	require.NoError(t, err)
	defer ln.Close()
	unix, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	defer unix.Close()
	unsupported(t, "unix", unix)
}

func unsupported(t *testing.T, name string, conn net.Conn) {
	t.Helper()
	for _, c := range []keepalive.Config{{}, {Disable: true}, {UserTimeout: time.Second}, {Idle: time.Minute, Interval: time.Second, Count: 3}} {
		assert.ErrorIs(t, c.Apply(conn), errors.ErrUnsupported, "Apply(%s)", name)
	}
	_, err := keepalive.Get(conn)
	assert.ErrorIs(t, err, errors.ErrUnsupported, "Get(%s)", name)
	_, err = keepalive.Stat(conn)
	assert.ErrorIs(t, err, errors.ErrUnsupported, "Stat(%s)", name)
}

var _ http.RoundTripper = &http.Transport{DialContext: new(keepalive.Dialer).DialContext}
