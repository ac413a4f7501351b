//go:build darwin || dragonfly || freebsd || netbsd || windows

package keepalive_test

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// options is what getsockopt says of a socket, in seconds.
type options struct {
	Keepalive             bool
	Idle, Interval, Count int
}

func kernel(t testing.TB, socket any) (o options) {
	t.Helper()
	if c, ok := socket.(*tls.Conn); ok {
		socket = c.NetConn()
	}
	rc, err := socket.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		o, err = getsockopts(fd)
	}))
	require.NoError(t, err)
	return o
}

// assertHolds asserts that the kernel holds c, all of whose timing is set.
func assertHolds(t testing.TB, c keepalive.Config, socket any) {
	t.Helper()
	assert.Equal(t, options{!c.Disable, int(c.Idle.Seconds()), int(c.Interval.Seconds()), c.Count}, kernel(t, socket))
}

func TestEveryPathReachesTheKernel(t *testing.T) {
	full := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	off := full
	off.Disable = true
	for _, c := range []keepalive.Config{full, off} {
		ln := plainListen(t, "tcp4")
		if err := (keepalive.Config{Disable: true}).Control("tcp4", "", nil); err != nil && c.Disable {
			assert.ErrorContains(t, err, "net.inet.tcp.always_keepalive")
			assert.Equal(t, err, second((&keepalive.Dialer{Config: c}).Dial("tcp4", ln.Addr().String())))
			continue
		}
		dialed, _ := pair(t, &keepalive.Dialer{Config: c}, ln)
		assertHolds(t, c, dialed)
		wrapped, err := c.WrapDial(new(net.Dialer).DialContext)(context.Background(), "tcp4", ln.Addr().String())
		require.NoError(t, err)
		defer wrapped.Close()
		assertHolds(t, c, wrapped)
		_, accepted := pair(t, new(net.Dialer), listen(t, &keepalive.ListenConfig{Config: c}, "tcp4"))
		assertHolds(t, c, accepted)
		outer, err := keepalive.NewListener(plainListen(t, "tcp4"), c)
		require.NoError(t, err)
		_, accepted = pair(t, new(net.Dialer), outer)
		assertHolds(t, c, accepted)
	}
}

// Zero fields are left alone: on a socket of our own that is the system's
// timing, on one that net opened it is net's.
func TestZeroFieldsAreLeftAlone(t *testing.T) {
	ln := plainListen(t, "tcp4")
	untouched, _ := pair(t, &net.Dialer{KeepAlive: -1}, ln)
	system := kernel(t, untouched)
	assert.False(t, system.Keepalive)
	system.Keepalive = true

	dialed, _ := pair(t, new(keepalive.Dialer), ln)
	assert.Equal(t, system, kernel(t, dialed))

	conn, _ := pair(t, new(net.Dialer), ln)
	before := kernel(t, conn)
	require.NoError(t, keepalive.Config{}.Apply(conn))
	assert.Equal(t, before, kernel(t, conn))
}

// rawConn is a socket that a hook was given.
type rawConn struct{ syscall.RawConn }

func (c rawConn) SyscallConn() (syscall.RawConn, error) { return c.RawConn, nil }

// The listening socket has no keepalive, which would end it on macOS and the
// BSDs.
func TestListeningSocketIsLeftAlone(t *testing.T) {
	c := keepalive.Config{Idle: time.Minute}
	var inner syscall.RawConn
	nlc := &net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error { inner = rc; return nil }}
	listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: c}, "tcp4")
	assert.Equal(t, kernel(t, plainListen(t, "tcp4")), kernel(t, rawConn{inner}))
}
