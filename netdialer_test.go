package keepalive_test

import (
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// needsKeepalive skips where NetDialer says that there is none.
func needsKeepalive(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "js" || runtime.GOOS == "wasip1" {
		t.Skipf("%s: it has no keepalive", runtime.GOOS)
	}
}

func TestNetDialerLeavesItsBaseAlone(t *testing.T) {
	t.Parallel()
	needsKeepalive(t)
	c, hooked := tcptest.Supported(tcptest.Quick), 0
	base := &net.Dialer{Timeout: time.Minute, KeepAlive: time.Hour, Control: func(string, string, syscall.RawConn) error { hooked++; return nil }}
	d, err := c.NetDialer(base)
	require.NoError(t, err)
	assert.NotSame(t, base, d)
	assert.Equal(t, time.Hour, base.KeepAlive)
	assert.Nil(t, base.ControlContext)
	assert.Equal(t, time.Minute, d.Timeout)
	conn := tcptest.Dial(t, d, tcptest.PlainListen(t, "tcp4"))
	assert.Equal(t, 1, hooked)
	tcptest.AssertOptions(t, c, conn)

	baseOfListeners := &net.ListenConfig{Control: func(string, string, syscall.RawConn) error { hooked++; return nil }}
	baseOfListeners.SetMultipathTCP(true)
	lc, err := c.NetListenConfig(baseOfListeners)
	netlab.SkipOn(t, netlab.GVisor, "accepted sockets inherit nothing")
	require.NoError(t, err)
	assert.True(t, baseOfListeners.MultipathTCP())
	assert.False(t, lc.MultipathTCP(), "its sockets lack options")
	ln := tcptest.Listen(t, lc, "tcp4")
	assert.Equal(t, 2, hooked)
	tcptest.Dial(t, new(net.Dialer), ln)
	tcptest.AssertOptions(t, c, tcptest.Accept(t, ln))
}

func TestNetDialerRefusesAnInvalidConfig(t *testing.T) {
	invalid := keepalive.Config{Count: 128}
	_, err := invalid.NetDialer(nil)
	assert.ErrorContains(t, err, "keepalive: Count is 128")
	_, err = invalid.NetListenConfig(nil)
	assert.ErrorContains(t, err, "keepalive: Count is 128")
}

// Other networks than TCP have no policy.
func TestNetDialerOfOtherNetworks(t *testing.T) {
	t.Parallel()
	needsKeepalive(t)
	c := tcptest.Supported(tcptest.Quick)
	d, err := c.NetDialer(nil)
	require.NoError(t, err)
	conn, err := d.Dial("udp4", "127.0.0.1:9")
	if err != nil && runtime.GOOS != "linux" {
		netlab.SkipOn(t, netlab.Wine, "net opens no UDP socket there")
		t.Skipf("%s: no UDP: %v", runtime.GOOS, err)
	}
	require.NoError(t, err)
	conn.Close()

	lc, err := c.NetListenConfig(nil)
	netlab.SkipOn(t, netlab.GVisor, "accepted sockets inherit nothing")
	require.NoError(t, err)
	ln, err := lc.Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil && runtime.GOOS != "linux" {
		t.Skipf("%s: %v", runtime.GOOS, err)
	}
	require.NoError(t, err)
	ln.Close()
}

func TestSupported(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: time.Minute, MaxRTO: 2 * time.Second}
	supported := c.Supported()
	assert.Equal(t, supported, supported.Supported())
	conn := tcptest.Dial(t, &keepalive.Dialer{Config: supported}, tcptest.PlainListen(t, "tcp4"))
	tcptest.AssertOptions(t, supported, conn)
	for _, left := range []keepalive.Config{{}, {Disable: true}} {
		if left.Supported() != (keepalive.Config{Disable: true}) { // js and wasip1
			assert.Equal(t, left, left.Supported())
		}
	}
}

func TestOptionError(t *testing.T) {
	err := error(&keepalive.OptionError{Option: "TCP_KEEPCNT", Err: errors.ErrUnsupported})
	assert.EqualError(t, err, "keepalive: TCP_KEEPCNT: unsupported operation")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
