//go:build darwin || dragonfly || freebsd || netbsd || windows

package readback

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryPathReachesTheKernel(t *testing.T) {
	full := tcptest.Supported(keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3})
	off := full
	off.Disable = true
	for _, c := range []keepalive.Config{full, off} {
		ln := tcptest.PlainListen(t, "tcp4")
		if err := (keepalive.Config{Disable: true}).Control("tcp4", "", nil); err != nil && c.Disable {
			assert.ErrorContains(t, err, "net.inet.tcp.always_keepalive")
			assert.Equal(t, err, tcptest.Err((&keepalive.Dialer{Config: c}).Dial("tcp4", ln.Addr().String())))
			continue
		}
		dialed, _ := tcptest.Pair(t, &keepalive.Dialer{Config: c}, ln)
		assertHolds(t, c, dialed)
		wrapped, _ := tcptest.Pair(t, tcptest.DialFunc(c.WrapDial(new(net.Dialer).DialContext)), ln)
		assertHolds(t, c, wrapped)
		_, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.Listen(t, &keepalive.ListenConfig{Config: c}, "tcp4"))
		assertHolds(t, c, accepted)
		_, accepted = tcptest.Pair(t, new(net.Dialer), tcptest.WrappedListen(t, c, "tcp4"))
		assertHolds(t, c, accepted)
		untuned, _ := tcptest.Pair(t, new(net.Dialer), ln)
		watched := keepalive.Watch(untuned, nil)
		require.NoError(t, c.Apply(watched))
		assertHolds(t, c, watched)
	}
}

// assertHolds asserts that the kernel holds c, and that Get says so.
func assertHolds(t *testing.T, c keepalive.Config, conn net.Conn) {
	t.Helper()
	tcptest.AssertOptions(t, c, conn)
	tcptest.AssertGet(t, c, conn)
}

// Zero fields are left alone: on a socket of our own that is the system's
// timing, on one that net opened it is net's.
func TestZeroFieldsAreLeftAlone(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	untouched, _ := tcptest.Pair(t, &net.Dialer{KeepAlive: -1}, ln)
	system := tcptest.Options(t, untouched)
	assert.True(t, system.Disable)
	system.Disable = false

	dialed, _ := tcptest.Pair(t, new(keepalive.Dialer), ln)
	tcptest.AssertOptions(t, system, dialed)

	conn, _ := tcptest.Pair(t, new(net.Dialer), ln)
	before := tcptest.Options(t, conn)
	require.NoError(t, keepalive.Config{}.Apply(conn))
	assert.Equal(t, before, tcptest.Options(t, conn))
}

// The listening socket has no keepalive, which would end it on macOS and the
// BSDs.
func TestListeningSocketIsLeftAlone(t *testing.T) {
	c := keepalive.Config{Idle: time.Minute, Interval: time.Second}
	var inner syscall.RawConn
	nlc := &net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error { inner = rc; return nil }}
	tcptest.Listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: c}, "tcp4")
	assert.Equal(t, tcptest.Options(t, tcptest.PlainListen(t, "tcp4")), tcptest.Options(t, tcptest.RawSocket{RawConn: inner}))
}
