//go:build ignore

package keepalive_test

import (
	"crypto/tls"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const tcpEstablished = 1 // TCP_ESTABLISHED of include/net/tcp_states.h

// silenced returns a connection that c was set on and whose peer has gone
// silent after they exchanged a byte, and a time just before that exchange.
func silenced(t *testing.T, c keepalive.Config, accepted, withTLS bool) (conn net.Conn, since time.Time) {
	t.Helper()
	var peer net.Conn
	if accepted {
		peer, conn = pair(t, new(net.Dialer), listen(t, &keepalive.ListenConfig{Config: c}, "tcp4"))
	} else {
		conn, peer = pair(t, &keepalive.Dialer{Config: c}, plainListen(t, "tcp4"))
	}
	wire := []net.Conn{conn, peer}
	if withTLS {
		server, client := testTLS(t)
		conn, peer = tls.Client(conn, client), tls.Server(peer, server)
	}
	since = exchange(t, conn, peer)
	settled(t, wire...)
	netlab.MustSilence(t, wire[1].(*net.TCPConn))
	return conn, since
}

// exchange sends a byte each way, and returns a time just before the last one.
func exchange(t *testing.T, conn, peer net.Conn) (since time.Time) {
	t.Helper()
	echoed := make(chan error, 1)
	go func() {
		b := make([]byte, 1)
		_, err := peer.Read(b)
		since = time.Now()
		if err == nil {
			_, err = peer.Write(b)
		}
		echoed <- err
	}()
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, <-echoed)
	return since
}

func TestDeadPeerIsNoticed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		accepted, withTLS bool
	}{
		{"dialed", false, false},
		{"accepted", true, false},
		{"dialed TLS", false, true},
		{"accepted TLS", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, since := silenced(t, quick, tt.accepted, tt.withTLS)
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			_, err := conn.Read(make([]byte, 1))
			within(t, since, 4*time.Second, 4500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
		t.Run(tt.name+" with the system's timing", func(t *testing.T) {
			t.Parallel()
			conn, since := silenced(t, keepalive.Config{}, tt.accepted, tt.withTLS)
			stillOpen(t, conn, since.Add(5*time.Second))
		})
	}
}

func TestUserTimeoutBoundsDataInFlight(t *testing.T) {
	t.Parallel()
	withTimeout := quick
	withTimeout.UserTimeout = 3500 * time.Millisecond
	for _, accepted := range []bool{false, true} {
		name := map[bool]string{false: "dialed", true: "accepted"}[accepted]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if refused(t, withTimeout) {
				return
			}
			conn, _ := silenced(t, withTimeout, accepted, false)
			since := time.Now()
			_, err := conn.Write([]byte("never acknowledged"))
			require.NoError(t, err)
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			_, err = conn.Read(make([]byte, 1))
			within(t, since, 3500*time.Millisecond, 4500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
		t.Run(name+" without", func(t *testing.T) {
			t.Parallel()
			conn, _ := silenced(t, quick, accepted, false)
			since := time.Now()
			_, err := conn.Write([]byte("never acknowledged"))
			require.NoError(t, err)
			stillOpen(t, conn, since.Add(6*time.Second))
		})
	}
}

// UserTimeout bounds connecting as well, contrary to tcp(7).
func TestUserTimeoutBoundsConnecting(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{UserTimeout: 2 * time.Second}
	if refused(t, c) {
		return
	}
	netlab.NewNamespace(t)
	// A full backlog drops further SYNs.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 5432}))
	require.NoError(t, unix.Listen(fd, 0))
	first, err := net.Dial("tcp4", "127.0.0.1:5432")
	require.NoError(t, err)
	defer first.Close()

	since := time.Now()
	_, err = (&keepalive.Dialer{Config: c}).Dial("tcp4", "127.0.0.1:5432")
	within(t, since, 2*time.Second, 2500*time.Millisecond)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.False(t, keepalive.IsPeerLost(err), "there was none to lose")
}

// within asserts how long ago since was. The kernel may be late, never early.
func within(t *testing.T, since time.Time, least, most time.Duration) {
	t.Helper()
	took := time.Since(since)
	t.Logf("noticed after %.2f s", took.Seconds())
	assert.GreaterOrEqual(t, took, least)
	assert.LessOrEqual(t, took, most)
}

// stillOpen reads until the deadline and asserts that the kernel has not given
// the connection up by then.
func stillOpen(t *testing.T, conn net.Conn, deadline time.Time) {
	t.Helper()
	conn.SetReadDeadline(deadline)
	_, err := conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.EqualValues(t, tcpEstablished, tcpInfo(t, conn).State)
}
