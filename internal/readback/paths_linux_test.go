//go:build ignore

package keepalive_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

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
		dialed, _ := pair(t, &keepalive.Dialer{Config: c}, plainListen(t, network))
		return []any{dialed}
	}},
	{"ListenConfig", true, func(t *testing.T, network string, c keepalive.Config) []any {
		ln := listen(t, &keepalive.ListenConfig{Config: c}, network)
		_, accepted := pair(t, new(net.Dialer), ln)
		return []any{ln, accepted}
	}},
	{"Control", true, func(t *testing.T, network string, c keepalive.Config) []any {
		lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
		lc.SetMultipathTCP(false)
		ln := listen(t, lc, network)
		dialed, accepted := pair(t, &net.Dialer{Control: c.Control, KeepAlive: -1}, ln)
		return []any{ln, dialed, accepted}
	}},
	{"WrapDial", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, _ := pair(t, dialFunc(c.WrapDial(new(net.Dialer).DialContext)), plainListen(t, network))
		return []any{dialed}
	}},
	{"NewListener", false, func(t *testing.T, network string, c keepalive.Config) []any {
		ln, err := keepalive.NewListener(plainListen(t, network), c)
		require.NoError(t, err)
		_, accepted := pair(t, new(net.Dialer), ln)
		return []any{accepted}
	}},
	{"Apply", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, accepted := pair(t, new(net.Dialer), plainListen(t, network))
		require.NoError(t, c.Apply(dialed))
		require.NoError(t, c.Apply(accepted))
		return []any{dialed, accepted}
	}},
}

// refuses reports whether this build can't set c on p, and asserts that it says
// so.
func (p path) refuses(t *testing.T, c keepalive.Config) bool {
	t.Helper()
	if p.name != "Control" || native || c == (keepalive.Config{Disable: true}) {
		return refused(t, c)
	}
	lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
	for _, err := range []error{c.Control("tcp4", "127.0.0.1:0", nil), second(lc.Listen(t.Context(), "tcp4", "127.0.0.1:0"))} {
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, " on linux: unsupported operation")
		assert.Regexp(t, `keepalive: (SO_KEEPALIVE|TCP_KEEPIDLE|TCP_KEEPINTVL|TCP_KEEPCNT|TCP_USER_TIMEOUT) `, err)
	}
	return true
}

// held returns what the kernel must hold for a socket that p has set c on, if
// want is what the native build sees to.
func (p path) held(t *testing.T, socket any, c keepalive.Config, want options) options {
	t.Helper()
	if native {
		return want
	}
	if _, ok := socket.(net.Listener); ok {
		nothing := sysctls(t)
		nothing.Keepalive = false
		return nothing
	}
	if p.fresh {
		return want
	}
	// Zero fields are left as net has them.
	if c.Idle == 0 {
		want.Idle = 15
	}
	if c.Interval == 0 {
		want.Interval = 15
	}
	if c.Count == 0 {
		want.Count = 9
	}
	return want
}

type dialFunc keepalive.DialFunc

func (f dialFunc) Dial(network, address string) (net.Conn, error) {
	return f(context.Background(), network, address)
}

func TestEveryPathSetsEveryField(t *testing.T) {
	t.Parallel()
	system := sysctls(t)
	with := func(change func(*options)) options {
		o := system
		change(&o)
		return o
	}
	configs := []struct {
		config keepalive.Config
		want   options
	}{
		{keepalive.Config{}, system},
		{keepalive.Config{Disable: true}, with(func(o *options) { o.Keepalive = false })},
		{keepalive.Config{Idle: 33 * time.Second}, with(func(o *options) { o.Idle = 33 })},
		{keepalive.Config{Interval: 44 * time.Second}, with(func(o *options) { o.Interval = 44 })},
		{keepalive.Config{Count: 5}, with(func(o *options) { o.Count = 5 })},
		{keepalive.Config{UserTimeout: 66 * time.Second}, with(func(o *options) { o.UserTimeout = 66000 })},
		{keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}, options{true, 60, 5, 3, 75000}},
		{keepalive.Config{Disable: true, Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}, options{false, 60, 5, 3, 75000}},
		// net's own values, for once meant.
		{keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9}, options{true, 15, 15, 9, 0}},
		{keepalive.Config{Idle: 1, Interval: 1, Count: 1, UserTimeout: 1}, options{true, 1, 1, 1, 1}},
		{keepalive.Config{Idle: time.Second + 1, Interval: 2*time.Second - 1, UserTimeout: time.Millisecond + 1}, options{true, 2, 2, system.Count, 2}},
		{
			keepalive.Config{Idle: 32767 * time.Second, Interval: 32767 * time.Second, Count: 127, UserTimeout: 2147483647 * time.Millisecond},
			options{true, 32767, 32767, 127, 2147483647},
		},
	}
	for _, path := range paths {
		for _, network := range []string{"tcp4", "tcp6"} {
			for _, tt := range configs {
				t.Run(fmt.Sprintf("%s/%s/%+v", path.name, network, tt.config), func(t *testing.T) {
					if path.refuses(t, tt.config) {
						return
					}
					for _, socket := range path.open(t, network, tt.config) {
						assert.Equal(t, path.held(t, socket, tt.config, tt.want), kernel(t, socket), "%T", socket)
					}
				})
			}
		}
	}
}

// What makes the library needed: if this fails, net has changed.
func TestNetOverwritesAndDropsErrors(t *testing.T) {
	t.Parallel()
	d := new(net.Dialer)
	if native {
		d.Control = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}.Control
	}
	dialed, accepted := pair(t, d, plainListen(t, "tcp4"))
	assert.Equal(t, options{true, 15, 15, 9, 0}, kernel(t, dialed))
	assert.Equal(t, options{true, 15, 15, 9, 0}, kernel(t, accepted))

	refused, _ := pair(t, &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 40000 * time.Second, Count: 200}}, plainListen(t, "tcp4"))
	got := kernel(t, refused)
	assert.NotEqual(t, 40000, got.Idle)
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
			if native {
				assert.Equal(t, keepalive.Config{Idle: 111 * time.Second, Interval: 22 * time.Second, Count: 4}, keepalive.SystemDefaults())
			}
			c := keepalive.Config{}
			if path.refuses(t, c) {
				return
			}
			for _, socket := range path.open(t, "tcp4", c) {
				assert.Equal(t, path.held(t, socket, c, options{true, 111, 22, 4, 0}), kernel(t, socket))
			}
			c = keepalive.Config{Interval: 7 * time.Second}
			for _, socket := range path.open(t, "tcp6", c) {
				assert.Equal(t, path.held(t, socket, c, options{true, 111, 7, 4, 0}), kernel(t, socket))
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
		if !path.fresh || path.refuses(t, c) {
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
		assert.Equal(t, path.held(t, socket, c, options{true, 222, 33, 6, 0}), kernel(t, socket))
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
			ln := plainListen(t, "tcp4")
			conn, _ := pair(t, new(net.Dialer), ln)
			netlab.Sysctl(t, tt.sysctl, tt.value)

			before := kernel(t, conn)
			if !native {
				assert.NoError(t, keepalive.Config{}.Apply(conn), "what is not written can't be refused")
				assert.Equal(t, before, kernel(t, conn))
				return
			}
			assert.ErrorContains(t, keepalive.Config{}.Apply(conn), "keepalive: "+tt.says)
			assert.Equal(t, before, kernel(t, conn))
			assert.ErrorContains(t, second(keepalive.NewListener(ln, keepalive.Config{})), tt.says)
			assert.ErrorContains(t, second(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp", ln.Addr().String())), tt.says)

			assert.NoError(t, tt.instead.Apply(conn))
			fresh, _ := pair(t, new(keepalive.Dialer), ln)
			assert.True(t, kernel(t, fresh).Keepalive, "what is not written can't be refused")
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
	pair(t, dialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)), ln)
}

// An Idle that equals what the socket follows is not written, see Config.Apply.
func TestApplyOfTheDefaultGoesOnFollowing(t *testing.T) {
	t.Parallel()
	if !native {
		return // writes it
	}
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	conn, _ := pair(t, new(keepalive.Dialer), plainListen(t, "tcp4"))
	require.NoError(t, keepalive.Config{Idle: 111 * time.Second, Interval: 22 * time.Second, Count: 3}.Apply(conn))
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "33")
	assert.Equal(t, options{true, 222, 22, 3, 0}, kernel(t, conn))
}

// The system's defaults are read once per listener and wrapped dialer.
func TestDefaultsAreReadOnce(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	ln, err := keepalive.NewListener(plainListen(t, "tcp4"), keepalive.Config{})
	require.NoError(t, err)
	dial := dialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext))
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	dialed, accepted := pair(t, dial, ln)
	idle := 111
	if !native {
		idle = 15 // nothing is read
	}
	assert.Equal(t, idle, kernel(t, dialed).Idle)
	assert.Equal(t, idle, kernel(t, accepted).Idle)
}

func TestEffective(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	netlab.Sysctl(t, "tcp_keepalive_probes", "0")
	want := keepalive.Config{Idle: 111 * time.Second, Interval: 75 * time.Second}
	if !native {
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
		c = possible(c)
		conn, _ := pair(t, &keepalive.Dialer{Config: c}, plainListen(t, "tcp4"))
		got := held(t, conn)
		assert.Equal(t, c, got)

		before := kernel(t, conn)
		require.NoError(t, got.Apply(conn))
		assert.Equal(t, before, kernel(t, conn))
	}
	conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
	assert.Equal(t, keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9}, held(t, conn))
}

func TestApplyAndGetThroughWrappers(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"tls.Conn":            func(c net.Conn) net.Conn { return tls.Client(c, new(tls.Config)) },
		"NetConn":             func(c net.Conn) net.Conn { return wrapper{c} },
		"NetConn of NetConn":  func(c net.Conn) net.Conn { return wrapper{wrapper{c}} },
		"NetConn of tls.Conn": func(c net.Conn) net.Conn { return wrapper{tls.Server(wrapper{c}, new(tls.Config))} },
	} {
		conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
		require.NoError(t, c.Apply(wrap(conn)), name)
		assert.Equal(t, options{true, 60, 5, 3, 0}, kernel(t, conn), name)
		got, err := keepalive.Get(wrap(conn))
		if !native {
			assert.ErrorIs(t, err, errors.ErrUnsupported, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, c, got, name)
	}
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
	conn.Close()
	assert.ErrorIs(t, quick.Apply(conn), net.ErrClosed)
	assert.ErrorIs(t, quick.Apply(tls.Client(conn, new(tls.Config))), net.ErrClosed)
	_, err := keepalive.Get(conn)
	if native {
		assert.ErrorIs(t, err, net.ErrClosed)
	} else {
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
}

// TCP_USER_TIMEOUT can be refused, so it goes first: here by MPTCP, which lacks
// it, with ENOPROTOOPT.
func TestRefusalLeavesTheSocketAsItWas(t *testing.T) {
	t.Parallel()
	conn, _ := pair(t, mptcpDialer(), mptcpListen(t))
	before := held(t, conn)

	err := keepalive.Config{Idle: time.Minute, Count: 3, UserTimeout: time.Second}.Apply(conn)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if native {
		assert.EqualError(t, err, "keepalive: setsockopt TCP_USER_TIMEOUT: protocol not available")
		var errno syscall.Errno
		require.ErrorAs(t, err, &errno)
		assert.Equal(t, unix.ENOPROTOOPT, errno)
	} else {
		assert.EqualError(t, err, "keepalive: TCP_USER_TIMEOUT on linux: unsupported operation")
	}
	assert.Equal(t, before, held(t, conn))

	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	require.NoError(t, c.Apply(conn), "off is what MPTCP has")
	assert.Equal(t, c, held(t, conn))
}

// A dialer that asks for MPTCP gets it where MPTCP can have the policy. With a
// UserTimeout net falls back to TCP, which has it.
func TestDialMPTCP(t *testing.T) {
	t.Parallel()
	ln := mptcpListen(t)
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	conn, _ := pair(t, &keepalive.Dialer{NetDialer: mptcpDialer(), Config: c}, ln)
	assert.Equal(t, c, held(t, conn))
	multipath, err := conn.(*net.TCPConn).MultipathTCP()
	require.NoError(t, err)
	assert.True(t, multipath)

	c.UserTimeout = 75 * time.Second
	if refused(t, c) {
		return
	}
	conn, _ = pair(t, &keepalive.Dialer{NetDialer: mptcpDialer(), Config: c}, ln)
	assert.Equal(t, options{true, 60, 5, 3, 75000}, kernel(t, conn))
	assert.Equal(t, unix.IPPROTO_TCP, sockopt(t, conn, unix.SOL_SOCKET, unix.SO_PROTOCOL))
}

// Control by hand reaches what an MPTCP listener accepts as well.
func TestControlOfMPTCPListener(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
	lc.SetMultipathTCP(true)
	if !native {
		assert.ErrorIs(t, second(lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")), errors.ErrUnsupported)
		return
	}
	ln := listen(t, lc, "tcp4")
	for _, d := range []*net.Dialer{mptcpDialer(), new(net.Dialer)} {
		_, accepted := pair(t, d, ln)
		got, err := keepalive.Get(accepted)
		require.NoError(t, err)
		assert.Equal(t, c, got)
	}
}

// tcp_sock_set_keepidle_locked re-arms the timer from the last receive: with
// probes out that is overdue. The first connection shows the probe that an equal
// KEEPIDLE costs, the second that Apply does not cost it.
func TestApplyWhileProbing(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Second, Interval: 10 * time.Second, Count: 9}
	off := c
	off.Disable = true
	ln := plainListen(t, "tcp4")
	written, peer1 := pair(t, &keepalive.Dialer{Config: off}, ln)
	applied, peer2 := pair(t, &keepalive.Dialer{Config: off}, ln)
	netlab.MustSilence(t, peer1.(*net.TCPConn))
	netlab.MustSilence(t, peer2.(*net.TCPConn))
	// A probe that is answered would be followed by one only after 10 s.
	require.NoError(t, c.Apply(written))
	require.NoError(t, c.Apply(applied))
	probes := func(conn net.Conn, n uint8) func() bool {
		return func() bool { return tcpInfo(t, conn).Probes == n }
	}
	require.Eventually(t, probes(written, 1), 5*time.Second, 5*time.Millisecond)
	require.Eventually(t, probes(applied, 1), 5*time.Second, 5*time.Millisecond)

	require.NoError(t, c.Apply(applied))
	if !native { // net writes what it is told
		require.Eventually(t, probes(applied, 2), 5*time.Second, 5*time.Millisecond)
		return
	}
	require.NoError(t, held(t, applied).Apply(applied))
	onFd(t, written, func(fd int) {
		require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1))
	})
	require.Eventually(t, probes(written, 2), 5*time.Second, 5*time.Millisecond)
	assert.EqualValues(t, 1, tcpInfo(t, applied).Probes)
}

func TestErrorOfControl(t *testing.T) {
	t.Parallel()
	// Nothing stops a caller from naming a network that the socket is not.
	lc := net.ListenConfig{Control: func(_, address string, rc syscall.RawConn) error {
		return keepalive.Config{Count: 3}.Control("tcp", address, rc)
	}}
	_, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if native {
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
