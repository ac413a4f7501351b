package keepalive_test

import (
	"crypto/tls"
	"errors"
	"net"
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

func TestGet(t *testing.T) {
	t.Parallel()
	for _, c := range []keepalive.Config{
		{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 1500 * time.Millisecond},
		{Disable: true, Idle: time.Second, Interval: time.Second, Count: 1},
	} {
		c = tcptest.Supported(c)
		conn, _ := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, "tcp4"))
		tcptest.AssertOptions(t, c, conn)
		tcptest.AssertGet(t, c, conn)

		before := tcptest.Options(t, conn)
		require.NoError(t, c.Apply(conn))
		assert.Equal(t, before, tcptest.Options(t, conn))
	}
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	tcptest.AssertGet(t, tcptest.NetDefault, conn)
}

func TestApplyAndGetThroughWrappers(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"tls.Conn":            func(c net.Conn) net.Conn { return tls.Client(c, new(tls.Config)) },
		"NetConn":             func(c net.Conn) net.Conn { return tcptest.Wrap(c) },
		"NetConn of NetConn":  func(c net.Conn) net.Conn { return tcptest.Wrap(tcptest.Wrap(c)) },
		"NetConn of tls.Conn": func(c net.Conn) net.Conn { return tcptest.Wrap(tls.Server(tcptest.Wrap(c), new(tls.Config))) },
	} {
		conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
		require.NoError(t, c.Apply(wrap(conn)), name)
		tcptest.AssertOptions(t, c, conn, name)
		tcptest.AssertGet(t, c, wrap(conn), name)
	}
}

// A net.Dialer with Control and without KeepAlive: -1 writes its own timing over the
// policy, as the doc of Control warns.
func TestControlAlone(t *testing.T) {
	t.Parallel()
	c := tcptest.Supported(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: time.Minute})
	ln := tcptest.PlainListen(t, "tcp4")
	control := &net.Dialer{Control: c.Control}
	if tcptest.Portable {
		assert.ErrorIs(t, tcptest.Err(control.Dial("tcp4", ln.Addr().String())), errors.ErrUnsupported)
		return
	}
	conn, _ := tcptest.Pair(t, control, ln)
	want := tcptest.NetDefault
	want.UserTimeout = c.UserTimeout
	tcptest.AssertOptions(t, want, conn)

	d, err := c.NetDialer(nil)
	require.NoError(t, err)
	conn, _ = tcptest.Pair(t, d, ln)
	tcptest.AssertOptions(t, c, conn)
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn.Close()
	assert.ErrorIs(t, tcptest.Quick.Apply(conn), net.ErrClosed)
	assert.ErrorIs(t, tcptest.Quick.Apply(tls.Client(conn, new(tls.Config))), net.ErrClosed)
	_, err := keepalive.Get(conn)
	assert.ErrorIs(t, err, net.ErrClosed)
}

// brokenSocket is a connection that gives no access to its socket, in one way or
// another.
type brokenSocket struct {
	net.Conn
	rc  syscall.RawConn
	err error
}

func (b brokenSocket) SyscallConn() (syscall.RawConn, error) { return b.rc, b.err }

// silentRawConn calls nothing back.
type silentRawConn struct{ syscall.RawConn }

func (silentRawConn) Control(func(uintptr)) error { return nil }

// What was returned for another connection before is not returned again.
func TestBrokenSocket(t *testing.T) {
	t.Parallel()
	if tcptest.Portable {
		t.Skip("package net: nothing but its own connections is set")
	}
	open, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	refused := errors.New("refused")
	for says, conn := range map[string]net.Conn{
		"keepalive: refused": brokenSocket{err: refused},
		"keepalive: SyscallConn of keepalive_test.brokenSocket returned nil":            brokenSocket{},
		"keepalive: Control of syscall.RawConn returned without a call of its function": brokenSocket{rc: silentRawConn{}},
	} {
		keepalive.Stat(open)
		status, err := keepalive.Stat(conn)
		assert.EqualError(t, err, says)
		assert.Zero(t, status)
		assert.EqualError(t, tcptest.Quick.Apply(conn), says)
		assert.EqualError(t, tcptest.Err(keepalive.Get(conn)), says)
		assert.EqualError(t, tcptest.Err(new(keepalive.Watcher).Watch(conn)), says)
	}
}

// TCP_USER_TIMEOUT can be refused, so it goes first: here by MPTCP, which lacks
// it, with ENOPROTOOPT.
func TestRefusalLeavesTheSocketAsItWas(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, tcptest.MPTCPDialer(), tcptest.MPTCPListen(t))
	before := tcptest.Options(t, conn)

	err := keepalive.Config{Idle: time.Minute, Count: 3, UserTimeout: time.Second}.Apply(conn)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if !tcptest.Portable {
		assert.EqualError(t, err, "keepalive: setsockopt TCP_USER_TIMEOUT: protocol not available: the socket uses MPTCP, want plain TCP")
		var errno syscall.Errno
		require.ErrorAs(t, err, &errno)
		assert.Equal(t, unix.ENOPROTOOPT, errno)
	} else {
		assert.EqualError(t, err, "keepalive: TCP_USER_TIMEOUT on linux: unsupported operation")
	}
	assert.Equal(t, before, tcptest.Options(t, conn))

	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	require.NoError(t, c.Apply(conn), "off is what MPTCP has")
	tcptest.AssertOptions(t, c, conn)
	tcptest.AssertGet(t, c, conn)
}

// What Apply sets is explicit, even where it equals what the socket follows.
func TestApplyOfTheDefaultEndsFollowing(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	conn, _ := tcptest.Pair(t, new(keepalive.Dialer), tcptest.PlainListen(t, "tcp4"))
	set := keepalive.Config{Idle: 111 * time.Second, Interval: 22 * time.Second, Count: 3}
	require.NoError(t, set.Apply(conn))
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "33")
	tcptest.AssertOptions(t, set, conn)
}

func TestSysctlThatNoSocketAccepts(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	for _, tt := range []struct {
		sysctl, value, says string
		instead             keepalive.Config
	}{
		{"tcp_keepalive_time", "100000", "net.ipv4.tcp_keepalive_time is 100000, a socket accepts 1 to 32767: set Config.Idle", keepalive.Config{Idle: time.Hour}},
		{"tcp_keepalive_time", "0", "net.ipv4.tcp_keepalive_time is 0, a socket accepts 1 to 32767: set Config.Idle", keepalive.Config{Idle: time.Hour}},
		{"tcp_keepalive_time", "-1", "net.ipv4.tcp_keepalive_time is -1, a", keepalive.Config{Idle: time.Hour}},
		{"tcp_keepalive_intvl", "0", "net.ipv4.tcp_keepalive_intvl is 0, a socket accepts 1 to 32767: set Config.Interval", keepalive.Config{Interval: time.Second}},
		{"tcp_keepalive_probes", "200", "net.ipv4.tcp_keepalive_probes is 200, a socket accepts 1 to 127: set Config.Count", keepalive.Config{Count: 3}},
		{"tcp_keepalive_probes", "0", "net.ipv4.tcp_keepalive_probes is 0, a", keepalive.Config{Count: 3}},
	} {
		t.Run(tt.sysctl+"="+tt.value, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			ln := tcptest.PlainListen(t, "tcp4")
			conn, _ := tcptest.Pair(t, new(net.Dialer), ln)
			netlab.Sysctl(t, tt.sysctl, tt.value)

			before := tcptest.Options(t, conn)
			if tcptest.Portable {
				assert.NoError(t, keepalive.Config{}.Apply(conn), "what is not written can't be refused")
				assert.Equal(t, before, tcptest.Options(t, conn))
				return
			}
			assert.ErrorContains(t, keepalive.Config{}.Apply(conn), "keepalive: "+tt.says)
			assert.Equal(t, before, tcptest.Options(t, conn))
			assert.ErrorContains(t, tcptest.Err(keepalive.NewListener(ln, keepalive.Config{})), tt.says)
			assert.ErrorContains(t, tcptest.Err(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp", ln.Addr().String())), tt.says)

			off := keepalive.Config{Disable: true, UserTimeout: time.Minute}
			require.NoError(t, off.Apply(conn), "it does not matter while keepalive is off")
			wrapped, err := keepalive.NewListener(ln, off)
			require.NoError(t, err)
			_, accepted := tcptest.Pair(t, new(net.Dialer), wrapped)
			want := keepalive.Config{Disable: true, Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9, UserTimeout: time.Minute}
			switch { // what can't be set stays as net has it
			case tt.instead.Idle != 0:
				want.Idle = before.Idle
			case tt.instead.Interval != 0:
				want.Interval = before.Interval
			default:
				want.Count = before.Count
			}
			tcptest.AssertOptions(t, want, conn)
			tcptest.AssertOptions(t, want, accepted)

			assert.NoError(t, tt.instead.Apply(conn))
			fresh, _ := tcptest.Pair(t, new(keepalive.Dialer), ln)
			assert.False(t, tcptest.Options(t, fresh).Disable, "what is not written can't be refused")
		})
	}
}

func TestErrorOfControl(t *testing.T) {
	t.Parallel()
	// Nothing stops a caller from naming a network that the socket is not.
	lc := net.ListenConfig{Control: func(_, address string, rc syscall.RawConn) error {
		return keepalive.Config{Count: 3}.Control("tcp", address, rc)
	}}
	_, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if !tcptest.Portable {
		assert.ErrorContains(t, err, "keepalive: setsockopt TCP_KEEPCNT: protocol not available: not a TCP socket")
		assert.ErrorIs(t, err, syscall.ENOPROTOOPT)
	} else {
		assert.ErrorContains(t, err, "keepalive: TCP_KEEPCNT before a socket is connected on linux: unsupported operation")
	}

	lc.Control = keepalive.Config{Count: 3}.Control
	pc, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	pc.Close()
}

// An error says what the socket is, where that is why.
func TestErrorOfAnotherSocket(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("udp4", "127.0.0.1:9")
	require.NoError(t, err)
	defer conn.Close()
	for call, err := range map[string]error{
		"setsockopt TCP_KEEPCNT":  tcptest.Quick.Apply(conn),
		"getsockopt TCP_KEEPIDLE": tcptest.Err(keepalive.Get(conn)),
		"getsockopt TCP_INFO":     tcptest.Err(keepalive.Stat(conn)),
	} {
		assert.ErrorIs(t, err, errors.ErrUnsupported, call)
		if !tcptest.Portable {
			assert.Regexp(t, "^keepalive: "+call+": .*: not a TCP socket$", err)
		}
	}
}
