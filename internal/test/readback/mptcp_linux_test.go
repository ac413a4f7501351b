package readback

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A dialer that asks for MPTCP gets it where MPTCP can have the policy. With a
// UserTimeout net falls back to TCP, which has it.
func TestDialMPTCP(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	withUserTimeout := c
	withUserTimeout.UserTimeout = 75 * time.Second
	for _, tt := range []struct {
		config   keepalive.Config
		protocol int
	}{
		{c, unix.IPPROTO_MPTCP},
		{withUserTimeout, unix.IPPROTO_TCP},
	} {
		t.Run(tt.config.String(), func(t *testing.T) {
			tcptest.SkipUnsupported(t, tt.config)
			conn, _ := tcptest.Pair(t, &keepalive.Dialer{NetDialer: tcptest.MPTCPDialer(), Config: tt.config}, tcptest.MPTCPListen(t))
			tcptest.AssertOptions(t, tt.config, conn)
			tcptest.AssertGet(t, tt.config, conn)
			assert.Equal(t, tt.protocol, tcptest.Protocol(t, conn))
		})
	}
}

// Control by hand reaches what an MPTCP listener accepts as well.
func TestControlOfMPTCPListener(t *testing.T) {
	t.Parallel()
	netlab.SkipOn(t, netlab.GVisor, "it has no MPTCP")
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
	lc.SetMultipathTCP(true)
	if tcptest.Portable {
		assert.ErrorIs(t, tcptest.Err(lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")), errors.ErrUnsupported)
		return
	}
	ln := tcptest.Listen(t, lc, "tcp4")
	for _, d := range []*net.Dialer{tcptest.MPTCPDialer(), new(net.Dialer)} {
		_, accepted := tcptest.Pair(t, d, ln)
		tcptest.AssertGet(t, c, accepted)
	}
}

func TestListenIsPlainTCP(t *testing.T) {
	nlc := new(net.ListenConfig)
	nlc.SetMultipathTCP(true)
	ln := tcptest.Listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: tcptest.Supported(keepalive.Config{UserTimeout: time.Second})}, "tcp")
	_, accepted := tcptest.Pair(t, tcptest.MPTCPDialer(), ln)
	assert.Equal(t, unix.IPPROTO_TCP, tcptest.Protocol(t, accepted))
}

func TestNewListenerOfMPTCP(t *testing.T) {
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	ln, err := keepalive.NewListener(tcptest.MPTCPListen(t), c)
	require.NoError(t, err)
	for _, d := range []*net.Dialer{tcptest.MPTCPDialer(), new(net.Dialer)} {
		_, accepted := tcptest.Pair(t, d, ln)
		tcptest.AssertOptions(t, c, accepted)
		tcptest.AssertGet(t, c, accepted)
	}
}

func TestNewListenerOfMPTCPWithUserTimeout(t *testing.T) {
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: time.Second}
	tcptest.SkipUnsupported(t, c)
	mptcp := tcptest.MPTCPListen(t)
	_, err := keepalive.NewListener(mptcp, c)
	assert.ErrorContains(t, err, "keepalive: getsockopt TCP_USER_TIMEOUT: ")
	assert.ErrorContains(t, err, ": the listener uses MPTCP, want one of keepalive.ListenConfig, or of a net.ListenConfig with SetMultipathTCP(false)")
	assert.ErrorIs(t, err, errors.ErrUnsupported)

	// A TLS listener hides its socket. Clients that come by MPTCP are turned
	// away, and keep nobody else from being served.
	hidden, err := keepalive.NewListener(tls.NewListener(mptcp, new(tls.Config)), c)
	require.NoError(t, err)
	for range 3 {
		turnedAway := tcptest.Dial(t, tcptest.MPTCPDialer(), mptcp)
		served, conn := tcptest.Pair(t, new(net.Dialer), hidden)
		assert.Equal(t, served.LocalAddr(), conn.RemoteAddr())
		tcptest.AssertOptions(t, c, conn)
		assert.Equal(t, io.EOF, tcptest.Read(turnedAway))
	}

	// Whatever its address says, what is TCP gets the policy or an error.
	inner := &otherAddr{tcptest.FakeListener{Listener: mptcp}}
	for _, d := range []*net.Dialer{tcptest.MPTCPDialer(), new(net.Dialer)} {
		_, conn := tcptest.Pair(t, d, mptcp)
		inner.Conns = append(inner.Conns, conn)
	}
	named, err := keepalive.NewListener(inner, c)
	require.NoError(t, err)
	tcptest.AssertOptions(t, c, tcptest.Accept(t, named))
}

// otherAddr is a listener whose address is of no network that net knows.
type otherAddr struct{ tcptest.FakeListener }

func (*otherAddr) Addr() net.Addr  { return (*otherAddr)(nil) }
func (*otherAddr) Network() string { return "tcp+tls" }
func (*otherAddr) String() string  { return "tcp+tls" }

// What a socket lacks is named, and leaves it as it was: here by MPTCP.
func TestMaxRTOThatASocketLacks(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Count: 3, MaxRTO: time.Second}
	tcptest.SkipUnsupported(t, c)
	mptcp := tcptest.MPTCPListen(t)
	conn, _ := tcptest.Pair(t, tcptest.MPTCPDialer(), mptcp)
	before := tcptest.Options(t, conn)
	err := c.Apply(conn)
	assert.EqualError(t, err, "keepalive: setsockopt TCP_RTO_MAX_MS: protocol not available: the socket uses MPTCP, want plain TCP")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Equal(t, before, tcptest.Options(t, conn))
	wrapped, err := keepalive.NewListener(mptcp, keepalive.Config{})
	require.NoError(t, err)
	for _, ln := range []net.Listener{mptcp, wrapped} {
		_, err = keepalive.NewListener(ln, c)
		assert.ErrorContains(t, err, "keepalive: getsockopt TCP_RTO_MAX_MS: ")
		assert.ErrorContains(t, err, ": the listener uses MPTCP, want one of keepalive.ListenConfig")
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
	held, err := keepalive.Get(conn)
	require.NoError(t, err)
	assert.Zero(t, held.MaxRTO)
}
