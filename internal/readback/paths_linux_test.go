// Package readback sets options on every path into the library, and reads them
// back from the kernel. It needs no more than socket options, so that it runs
// under qemu-user too.
package readback

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// path is a way on which a Config reaches a socket. open returns the sockets
// that must hold it, all opened on the calling goroutine.
type path struct {
	name string
	// fresh says that the sockets have never been tuned by net.
	fresh bool
	open  func(t *testing.T, network string, c keepalive.Config) []any
}

var paths = []path{
	{"Dialer", true, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, _ := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, network))
		return []any{dialed}
	}},
	{"ListenConfig", true, func(t *testing.T, network string, c keepalive.Config) []any {
		ln := tcptest.Listen(t, &keepalive.ListenConfig{Config: c}, network)
		_, accepted := tcptest.Pair(t, new(net.Dialer), ln)
		return []any{ln, accepted}
	}},
	{"Control", true, func(t *testing.T, network string, c keepalive.Config) []any {
		lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
		lc.SetMultipathTCP(false)
		ln := tcptest.Listen(t, lc, network)
		dialed, accepted := tcptest.Pair(t, &net.Dialer{Control: c.Control, KeepAlive: -1}, ln)
		return []any{ln, dialed, accepted}
	}},
	{"WrapDial", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, _ := tcptest.Pair(t, tcptest.DialFunc(c.WrapDial(new(net.Dialer).DialContext)), tcptest.PlainListen(t, network))
		return []any{dialed}
	}},
	{"NewListener", false, func(t *testing.T, network string, c keepalive.Config) []any {
		ln, err := keepalive.NewListener(tcptest.PlainListen(t, network), c)
		require.NoError(t, err)
		_, accepted := tcptest.Pair(t, new(net.Dialer), ln)
		return []any{accepted}
	}},
	{"Apply", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, network))
		require.NoError(t, c.Apply(dialed))
		require.NoError(t, c.Apply(accepted))
		return []any{dialed, accepted}
	}},
}

// unsupported reports whether this build can't set c on p, and asserts that it
// says so.
func (p path) unsupported(t *testing.T, c keepalive.Config) bool {
	t.Helper()
	if p.name != "Control" || !tcptest.Portable || c == (keepalive.Config{Disable: true}) {
		return unsupported(t, c)
	}
	lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
	for _, err := range []error{c.Control("tcp4", "127.0.0.1:0", nil), tcptest.Err(lc.Listen(t.Context(), "tcp4", "127.0.0.1:0"))} {
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, " on linux: unsupported operation")
		assert.Regexp(t, `keepalive: (SO_KEEPALIVE|TCP_KEEPIDLE|TCP_KEEPINTVL|TCP_KEEPCNT|TCP_USER_TIMEOUT) `, err)
	}
	return true
}

// want returns what the kernel must hold for a socket that p has set c on. The
// fields of c that are not zero are rounded up already.
func (p path) want(t *testing.T, socket any, c keepalive.Config) keepalive.Config {
	t.Helper()
	system := tcptest.Sysctls(t)
	if !tcptest.Portable || p.fresh {
		if _, ok := socket.(net.Listener); ok && tcptest.Portable {
			system.Disable = true
			return system // left alone
		}
		return withDefaults(c, system)
	}
	return withDefaults(c, tcptest.NetDefault) // zero fields are left as net has them
}

// withDefaults returns c with zero Idle, Interval and Count filled in.
func withDefaults(c, defaults keepalive.Config) keepalive.Config {
	c.Idle = cmp.Or(c.Idle, defaults.Idle)
	c.Interval = cmp.Or(c.Interval, defaults.Interval)
	c.Count = cmp.Or(c.Count, defaults.Count)
	return c
}

// unsupported reports whether this build can't set c, and asserts that it then
// says so on every path, before it has dialed or opened anything.
func unsupported(t *testing.T, c keepalive.Config) bool {
	t.Helper()
	if tcptest.Supported(c) == c {
		return false
	}
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	before := tcptest.Options(t, conn)
	dial := func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, net.ErrClosed
	}
	for path, err := range map[string]error{
		"Apply":        c.Apply(conn),
		"Control":      c.Control("tcp4", "", nil),
		"Dialer":       tcptest.Err((&keepalive.Dialer{Config: c}).Dial("tcp4", "127.0.0.1:1")),
		"ListenConfig": tcptest.Err((&keepalive.ListenConfig{Config: c}).Listen(t.Context(), "tcp4", "192.0.2.1:1")),
		"WrapDial":     tcptest.Err(c.WrapDial(dial)(t.Context(), "tcp4", "")),
		"NewListener":  tcptest.Err(keepalive.NewListener(tcptest.PlainListen(t, "tcp4"), c)),
	} {
		assert.EqualError(t, err, "keepalive: TCP_USER_TIMEOUT on linux: unsupported operation", path)
		assert.ErrorIs(t, err, errors.ErrUnsupported, path)
	}
	assert.Equal(t, before, tcptest.Options(t, conn))
	return true
}

func TestEveryPathSetsEveryField(t *testing.T) {
	t.Parallel()
	full := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}
	off := full
	off.Disable = true
	most := keepalive.Config{Idle: 32767 * time.Second, Interval: 32767 * time.Second, Count: 127, UserTimeout: math.MaxInt32 * time.Millisecond}
	for _, tt := range []struct{ config, want keepalive.Config }{
		{config: keepalive.Config{}},
		{config: keepalive.Config{Disable: true}},
		{config: keepalive.Config{Idle: 33 * time.Second}},
		{config: keepalive.Config{Interval: 44 * time.Second}},
		{config: keepalive.Config{Count: 5}},
		{config: keepalive.Config{UserTimeout: 66 * time.Second}},
		{config: full},
		{config: off},
		{config: most},
		{config: tcptest.NetDefault}, // for once meant
		{
			keepalive.Config{Idle: 1, Interval: 1, Count: 1, UserTimeout: 1},
			keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1, UserTimeout: time.Millisecond},
		},
		{
			keepalive.Config{Idle: time.Second + 1, Interval: 2*time.Second - 1, UserTimeout: time.Millisecond + 1},
			keepalive.Config{Idle: 2 * time.Second, Interval: 2 * time.Second, UserTimeout: 2 * time.Millisecond},
		},
	} {
		want := cmp.Or(tt.want, tt.config)
		for _, path := range paths {
			for _, network := range []string{"tcp4", "tcp6"} {
				t.Run(fmt.Sprintf("%s/%s/%v", path.name, network, tt.config), func(t *testing.T) {
					if path.unsupported(t, tt.config) {
						return
					}
					for _, socket := range path.open(t, network, tt.config) {
						tcptest.AssertOptions(t, path.want(t, socket, want), socket, "%T", socket)
					}
				})
			}
		}
	}
}

// MaxRTO is inherited and set like any other, and left alone where it is zero.
func TestEveryPathSetsMaxRTO(t *testing.T) {
	t.Parallel()
	tcptest.NeedMaxRTO(t)
	for _, path := range paths {
		for _, network := range []string{"tcp4", "tcp6"} {
			t.Run(path.name+"/"+network, func(t *testing.T) {
				t.Parallel()
				netlab.NewNamespace(t)
				c := keepalive.Config{Count: 3, MaxRTO: 2*time.Second + 1}
				for _, socket := range path.open(t, network, c) {
					held := tcptest.Options(t, socket).MaxRTO
					assert.GreaterOrEqual(t, held, 2001*time.Millisecond, "%T", socket)
					assert.Less(t, held, 2001*time.Millisecond+tcptest.Jiffy, "%T", socket)
				}
				netlab.Sysctl(t, "tcp_rto_max_ms", "7000")
				c.MaxRTO = 0
				for _, socket := range path.open(t, network, c) {
					assert.Equal(t, 7*time.Second, tcptest.Options(t, socket).MaxRTO, "%T", socket)
					if conn, ok := socket.(net.Conn); ok {
						c.MaxRTO = 3 * time.Second
						require.NoError(t, c.Apply(conn))
						held, err := keepalive.Get(conn)
						require.NoError(t, err)
						assert.Equal(t, c.MaxRTO, held.MaxRTO)
						c.MaxRTO = 0
						require.NoError(t, c.Apply(conn))
						assert.Equal(t, 3*time.Second, tcptest.Options(t, conn).MaxRTO, "left alone")
					}
				}
			})
		}
	}
}

// What a socket lacks is named, and leaves it as it was: here by MPTCP, and by
// releases before Linux 6.15.
func TestMaxRTOThatASocketLacks(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Count: 3, MaxRTO: time.Second}
	tcptest.SkipUnsupported(t, c)
	mptcp := tcptest.MPTCPListen(t)
	conn, _ := tcptest.Pair(t, tcptest.MPTCPDialer(), mptcp)
	before := tcptest.Options(t, conn)
	err := c.Apply(conn)
	assert.EqualError(t, err, "keepalive: setsockopt TCP_RTO_MAX_MS: protocol not available")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Equal(t, before, tcptest.Options(t, conn))
	_, err = keepalive.NewListener(mptcp, c)
	assert.ErrorContains(t, err, "keepalive: getsockopt TCP_RTO_MAX_MS: ")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	held, err := keepalive.Get(conn)
	require.NoError(t, err)
	assert.Zero(t, held.MaxRTO)
}

// What makes the library needed: if this fails, net has changed.
func TestNetOverwritesAndDropsErrors(t *testing.T) {
	t.Parallel()
	d := new(net.Dialer)
	if !tcptest.Portable {
		d.Control = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}.Control
	}
	dialed, accepted := tcptest.Pair(t, d, tcptest.PlainListen(t, "tcp4"))
	tcptest.AssertOptions(t, tcptest.NetDefault, dialed)
	tcptest.AssertOptions(t, tcptest.NetDefault, accepted)

	refused, _ := tcptest.Pair(t, &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 40000 * time.Second, Count: 200}}, tcptest.PlainListen(t, "tcp4"))
	got := tcptest.Options(t, refused)
	assert.NotEqual(t, 40000*time.Second, got.Idle)
	assert.NotEqual(t, 200, got.Count)
}

func TestSysctlIsFollowed(t *testing.T) {
	t.Parallel()
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			netlab.Sysctl(t, "tcp_keepalive_time", "111")
			netlab.Sysctl(t, "tcp_keepalive_intvl", "22")
			netlab.Sysctl(t, "tcp_keepalive_probes", "4")
			set := keepalive.Config{Idle: 111 * time.Second, Interval: 22 * time.Second, Count: 4}
			require.Equal(t, set, tcptest.Sysctls(t))
			if !tcptest.Portable {
				assert.Equal(t, set, keepalive.SystemDefaults())
			}
			c := keepalive.Config{}
			if path.unsupported(t, c) {
				return
			}
			for _, socket := range path.open(t, "tcp4", c) {
				tcptest.AssertOptions(t, path.want(t, socket, c), socket)
			}
			c = keepalive.Config{Interval: 7 * time.Second}
			for _, socket := range path.open(t, "tcp6", c) {
				tcptest.AssertOptions(t, path.want(t, socket, c), socket)
			}
		})
	}
}

// Options that nobody wrote follow the sysctl while the socket lives, on those
// paths that need not write them.
func TestSysctlIsFollowedLive(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	c := keepalive.Config{Count: 6}
	sockets := map[any]path{}
	for _, path := range paths {
		if !path.fresh || path.unsupported(t, c) {
			continue
		}
		for _, socket := range path.open(t, "tcp4", c) {
			sockets[socket] = path
		}
	}
	assert.NotEmpty(t, sockets)
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "33")
	netlab.Sysctl(t, "tcp_keepalive_probes", "5")
	for socket, path := range sockets {
		tcptest.AssertOptions(t, path.want(t, socket, c), socket)
	}
}

func TestSysctlThatNoSocketAccepts(t *testing.T) {
	t.Parallel()
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

			assert.NoError(t, tt.instead.Apply(conn))
			fresh, _ := tcptest.Pair(t, new(keepalive.Dialer), ln)
			assert.False(t, tcptest.Options(t, fresh).Disable, "what is not written can't be refused")
		})
	}
}

// What has no use for the system's defaults does without them.
func TestSysctlThatNoSocketAcceptsAndOtherNetworks(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "0")
	inner, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer inner.Close()
	ln, err := keepalive.NewListener(inner, keepalive.Config{})
	require.NoError(t, err)
	tcptest.Pair(t, tcptest.DialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)), ln)
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

// The system's defaults are read once per listener and wrapped dialer.
func TestDefaultsAreReadOnce(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	ln, err := keepalive.NewListener(tcptest.PlainListen(t, "tcp4"), keepalive.Config{})
	require.NoError(t, err)
	dial := tcptest.DialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext))
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	dialed, accepted := tcptest.Pair(t, dial, ln)
	idle := 111 * time.Second
	if tcptest.Portable {
		idle = tcptest.NetDefault.Idle // nothing is read
	}
	assert.Equal(t, idle, tcptest.Options(t, dialed).Idle)
	assert.Equal(t, idle, tcptest.Options(t, accepted).Idle)
}

func TestEffective(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	netlab.Sysctl(t, "tcp_keepalive_probes", "0")
	want := keepalive.Config{Idle: 111 * time.Second, Interval: 75 * time.Second}
	if tcptest.Portable {
		want = keepalive.Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9} // tcp(7)
	}
	assert.Equal(t, want, keepalive.Config{}.Effective())
	full := keepalive.Config{Disable: true, Idle: time.Minute, Interval: time.Nanosecond, Count: 3, UserTimeout: time.Second}
	assert.Equal(t, full, full.Effective())
}

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

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn.Close()
	assert.ErrorIs(t, tcptest.Quick.Apply(conn), net.ErrClosed)
	assert.ErrorIs(t, tcptest.Quick.Apply(tls.Client(conn, new(tls.Config))), net.ErrClosed)
	_, err := keepalive.Get(conn)
	if !tcptest.Portable {
		assert.ErrorIs(t, err, net.ErrClosed)
	} else {
		assert.ErrorIs(t, err, errors.ErrUnsupported)
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
		assert.EqualError(t, err, "keepalive: setsockopt TCP_USER_TIMEOUT: protocol not available")
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

func TestErrorOfControl(t *testing.T) {
	t.Parallel()
	// Nothing stops a caller from naming a network that the socket is not.
	lc := net.ListenConfig{Control: func(_, address string, rc syscall.RawConn) error {
		return keepalive.Config{Count: 3}.Control("tcp", address, rc)
	}}
	_, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if !tcptest.Portable {
		assert.ErrorContains(t, err, "keepalive: setsockopt TCP_KEEPCNT: protocol not available")
		assert.ErrorIs(t, err, syscall.ENOPROTOOPT)
	} else {
		assert.ErrorContains(t, err, "keepalive: TCP_KEEPCNT before a socket is connected on linux: unsupported operation")
	}

	lc.Control = keepalive.Config{Count: 3}.Control
	pc, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	pc.Close()
}

// dialInstead returns a Dialer whose TCP socket is exchanged for one that lacks
// TCP's options, as an old kernel would.
func dialInstead() *keepalive.Dialer {
	exchange := func(_, _ string, rc syscall.RawConn) (err error) {
		closed := rc.Control(func(fd uintptr) {
			var other int
			other, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.Dup3(other, int(fd), unix.O_CLOEXEC)
				unix.Close(other)
			}
		})
		return errors.Join(err, closed)
	}
	return &keepalive.Dialer{NetDialer: &net.Dialer{Control: exchange}, Config: keepalive.Config{Idle: time.Minute, Interval: time.Second, Count: 3}}
}

// An option that the kernel lacks is named, and errors.ErrUnsupported: here with
// the errno of a socket that really lacks it.
func TestOptionThatTheKernelLacks(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	_, err = dialInstead().Dial("tcp4", udp.LocalAddr().String())
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorIs(t, err, syscall.ENOPROTOOPT)
	assert.Regexp(t, `^dial tcp4? 127\.0\.0\.1:\d+: keepalive: (setsockopt TCP_KEEPCNT: |TCP_KEEPCNT on linux: set .*)protocol not available$`, err)
}
