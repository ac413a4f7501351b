// Package detection times how long the kernel takes to give a silent peer up,
// and holds that against the policy, DetectionTime and Plan. It needs no more
// than socket options, so that it runs under qemu-user too.
package detection

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// ends holds the ends of a connection that can have the policy.
var ends = map[string]func(t testing.TB, c keepalive.Config) (conn, peer net.Conn){
	"dialed":   tcptest.DialPair,
	"accepted": tcptest.AcceptPair,
}

func plain(_ testing.TB, conn, peer net.Conn) (net.Conn, net.Conn) { return conn, peer }

func withTLS(t testing.TB, conn, peer net.Conn) (net.Conn, net.Conn) {
	server, client := tcptest.TLSConfigs(t)
	return tls.Client(conn, client), tls.Server(peer, server)
}

func TestDeadPeerIsNoticed(t *testing.T) {
	t.Parallel()
	for end, open := range ends {
		for suffix, wrap := range map[string]func(t testing.TB, conn, peer net.Conn) (net.Conn, net.Conn){"": plain, " TLS": withTLS} {
			silent := func(t *testing.T, c keepalive.Config) (conn net.Conn, since time.Time) {
				conn, peer := open(t, c)
				conn, peer = wrap(t, conn, peer)
				return conn, tcptest.Silence(t, conn, peer)
			}
			t.Run(end+suffix, func(t *testing.T) {
				t.Parallel()
				conn, since := silent(t, tcptest.Quick)
				err := tcptest.Read(conn)
				tcptest.AssertWithin(t, since, 4*time.Second, 4500*time.Millisecond)
				assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			})
			t.Run(end+suffix+" with the system's timing", func(t *testing.T) {
				t.Parallel()
				conn, since := silent(t, keepalive.Config{})
				tcptest.AssertOpenUntil(t, conn, since.Add(5*time.Second))
			})
		}
	}
}

func TestUserTimeoutBoundsDataInFlight(t *testing.T) {
	t.Parallel()
	withTimeout := tcptest.Quick
	withTimeout.UserTimeout = 3500 * time.Millisecond
	for end, open := range ends {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			tcptest.SkipUnsupported(t, withTimeout)
			conn, peer := open(t, withTimeout)
			tcptest.Silence(t, conn, peer)
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			err := tcptest.Read(conn)
			tcptest.AssertWithin(t, since, 3500*time.Millisecond, 4500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
		t.Run(end+" without", func(t *testing.T) {
			t.Parallel()
			conn, peer := open(t, tcptest.Quick)
			tcptest.Silence(t, conn, peer)
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			tcptest.AssertOpenUntil(t, conn, since.Add(6*time.Second))
		})
	}
}

// UserTimeout bounds connecting as well, contrary to tcp(7).
func TestUserTimeoutBoundsConnecting(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{UserTimeout: 2 * time.Second}
	tcptest.SkipUnsupported(t, c)
	netlab.NewNamespace(t)
	// A full backlog drops further SYNs.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 5432}))
	require.NoError(t, unix.Listen(fd, 0))
	first, err := net.DialTimeout("tcp4", "127.0.0.1:5432", time.Minute)
	require.NoError(t, err)
	defer first.Close()

	since := time.Now()
	d := &keepalive.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: c}
	_, err = d.Dial("tcp4", "127.0.0.1:5432")
	tcptest.AssertWithin(t, since, 2*time.Second, 2500*time.Millisecond)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.False(t, keepalive.IsPeerLost(err), "there was none to lose")
}

// A simultaneous open (RFC 9293, section 3.5) skips the point at which a connect
// arms the timer (tcp_finish_connect in net/ipv4/tcp_input.c). A socket that
// connects to itself does nothing else.
func TestSimultaneousOpen(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	self := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5432}
	for name, nd := range map[string]net.Dialer{
		"alone": {},
		"after a hook that turns keepalive on": {Control: func(_, _ string, rc syscall.RawConn) error {
			tcptest.SetsockoptInt(t, tcptest.RawSocket{RawConn: rc}, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			nd.LocalAddr, nd.Timeout = self, time.Minute
			since := time.Now()
			conn, err := (&keepalive.Dialer{NetDialer: &nd, Config: tcptest.Quick}).Dial("tcp4", self.String())
			require.NoError(t, err)
			defer conn.Close()
			dropAll(t, conn)
			err = tcptest.Read(conn)
			tcptest.AssertWithin(t, since, 4*time.Second, 4500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}

// dropAll makes the kernel drop all that arrives at conn, which goes on sending.
func dropAll(t *testing.T, conn net.Conn) {
	t.Helper()
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	tcptest.Control(t, conn, func(fd uintptr) {
		err := unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		if errors.Is(err, os.ErrPermission) {
			netlab.Skip(t, os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err))
		}
		require.NoError(t, err)
	})
}
