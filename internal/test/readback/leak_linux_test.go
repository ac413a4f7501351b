package readback

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// No error path may keep a descriptor. This test is not parallel: it counts the
// descriptors of the process.
func TestNoDescriptorLeaks(t *testing.T) {
	refused := errors.New("refused by the hook")
	hook := func(string, string, syscall.RawConn) error { return refused }
	plain := tcptest.PlainListen(t, "tcp4")
	mptcp := tcptest.MPTCPListen(t)
	address := plain.Addr().String()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	dialUDP := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", udp.LocalAddr().String())
	}
	acceptHidden := func() error {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp4", address)
		require.NoError(t, err)
		ln, err := keepalive.NewListener(&tcptest.FakeListener{Listener: plain, Conns: []net.Conn{struct{ net.Conn }{conn}}}, keepalive.Config{})
		require.NoError(t, err)
		accepted, err := plain.Accept()
		require.NoError(t, err)
		defer accepted.Close()
		return tcptest.Err(ln.Accept())
	}

	for name, fail := range map[string]func() error{
		"Dialer, hook": func() error {
			return tcptest.Err((&keepalive.Dialer{NetDialer: &net.Dialer{Control: hook}}).Dial("tcp4", address))
		},
		"Dialer, invalid": func() error {
			return tcptest.Err((&keepalive.Dialer{Config: keepalive.Config{Count: -1}}).Dial("tcp4", address))
		},
		"Dialer, refused": func() error { return tcptest.Err(dialInstead().Dial("tcp4", address)) },
		"Dialer, network": func() error {
			return tcptest.Err(new(keepalive.Dialer).Dial("tcp6", address))
		},
		"ListenConfig, hook": func() error {
			return tcptest.Err((&keepalive.ListenConfig{NetListenConfig: &net.ListenConfig{Control: hook}}).Listen(t.Context(), "tcp4", "127.0.0.1:0"))
		},
		"ListenConfig, in use": func() error {
			return tcptest.Err(new(keepalive.ListenConfig).Listen(t.Context(), "tcp4", address))
		},
		"NewListener, MPTCP": func() error {
			return tcptest.Err(keepalive.NewListener(mptcp, keepalive.Config{UserTimeout: time.Second}))
		},
		"Accept, no socket": acceptHidden,
		"WrapDial, no TCP": func() error {
			return tcptest.Err(keepalive.Config{}.WrapDial(dialUDP)(t.Context(), "tcp", ""))
		},
		"Apply, Get, no TCP": func() error {
			conn, err := dialUDP(t.Context(), "", "")
			require.NoError(t, err)
			defer conn.Close()
			return errors.Join(keepalive.Config{}.Apply(conn), tcptest.Err(keepalive.Get(conn)))
		},
	} {
		assert.Error(t, fail(), name) // opens what is opened once: the poller, resolv.conf
		before := fds(t)
		for range 10 {
			fail()
		}
		assert.Equal(t, before, fds(t), name)
	}
}

func fds(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
