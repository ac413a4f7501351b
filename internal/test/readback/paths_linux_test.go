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

// path is a way on which a Config reaches a socket. open returns the sockets
// that must hold it, all opened on the calling goroutine.
type path struct {
	name string
	// fresh says that the sockets have never been tuned by net.
	fresh bool
	open  func(t *testing.T, network string, c keepalive.Config) []any
}

// carried skips a policy that a struct of net can't carry here.
func carried(t *testing.T, c keepalive.Config, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) && (tcptest.Portable && c.Disable || netlab.GVisor.Here()) {
		netlab.SkipOn(t, netlab.GVisor, "accepted sockets inherit nothing")
		t.Skipf("package net: %v", err)
	}
	require.NoError(t, err)
}

var paths = []path{
	{"Dialer", true, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, _ := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, network))
		return []any{dialed}
	}},
	{"ListenConfig", true, func(t *testing.T, network string, c keepalive.Config) []any {
		var listening tcptest.RawSocket
		nlc := &net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error { listening.RawConn = rc; return nil }}
		ln := tcptest.Listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: c}, network)
		_, accepted := tcptest.Pair(t, new(net.Dialer), ln)
		return []any{listening, accepted}
	}},
	{"NetDialer", true, func(t *testing.T, network string, c keepalive.Config) []any {
		d, err := c.NetDialer(&net.Dialer{KeepAlive: time.Hour, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Count: 99}})
		carried(t, c, err)
		dialed, _ := tcptest.Pair(t, d, tcptest.PlainListen(t, network))
		return []any{dialed}
	}},
	{"NetListenConfig", true, func(t *testing.T, network string, c keepalive.Config) []any {
		lc, err := c.NetListenConfig(&net.ListenConfig{KeepAlive: time.Hour, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Count: 99}})
		carried(t, c, err)
		_, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.Listen(t, lc, network))
		return []any{accepted}
	}},
	{"Control", true, func(t *testing.T, network string, c keepalive.Config) []any {
		lc := &net.ListenConfig{Control: c.Control, KeepAlive: -1}
		lc.SetMultipathTCP(false)
		ln := tcptest.Listen(t, lc, network)
		dialed, accepted := tcptest.Pair(t, &net.Dialer{Control: c.Control, KeepAlive: -1}, ln)
		if netlab.GVisor.Here() {
			return []any{ln, dialed} // nothing is inherited
		}
		return []any{ln, dialed, accepted}
	}},
	{"WrapDial", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, _ := tcptest.Pair(t, tcptest.DialFunc(c.WrapDial(new(net.Dialer).DialContext)), tcptest.PlainListen(t, network))
		return []any{dialed}
	}},
	{"NewListener", false, func(t *testing.T, network string, c keepalive.Config) []any {
		_, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.WrappedListen(t, c, network))
		return []any{accepted}
	}},
	{"Apply", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, network))
		require.NoError(t, c.Apply(dialed))
		require.NoError(t, c.Apply(accepted))
		return []any{dialed, accepted}
	}},
	{"Apply, watched", false, func(t *testing.T, network string, c keepalive.Config) []any {
		dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, network))
		require.NoError(t, c.Apply(keepalive.Watch(dialed, nil)))
		require.NoError(t, c.Apply(tls.Server(keepalive.Watch(keepalive.Watch(accepted, nil), nil), nil)))
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
	switch {
	case !tcptest.Portable:
		return withDefaults(c, system)
	case tcptest.GetsockoptInt(t, socket, unix.SOL_SOCKET, unix.SO_ACCEPTCONN) != 0: // left alone
		system.Disable = true
		return system
	case p.fresh:
		return withDefaults(c, system)
	default: // zero fields are left as net has them
		return withDefaults(c, tcptest.NetDefault)
	}
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

// Where the kernel lacks MaxRTO the error says which has it, and nothing is set.
func TestMaxRTOOfThisKernel(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, MaxRTO: time.Second}
	tcptest.SkipUnsupported(t, c)
	netlab.SkipOn(t, netlab.GVisor, "it has no TCP_RTO_MAX_MS")
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	before := tcptest.Options(t, conn)
	err := c.Apply(conn)
	if before.MaxRTO != 0 {
		assert.NoError(t, err)
		return
	}
	assert.EqualError(t, err, "keepalive: setsockopt TCP_RTO_MAX_MS: protocol not available: Linux before 6.15 lacks it")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Equal(t, before, tcptest.Options(t, conn))
}

// MaxRTO is inherited and set like any other, and left alone where it is zero.
func TestEveryPathSetsMaxRTO(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
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
	assert.Regexp(t, `^dial tcp4? 127\.0\.0\.1:\d+: keepalive: (setsockopt TCP_KEEPCNT: |TCP_KEEPCNT on linux: set .*)protocol not available(: not a TCP socket)?$`, err)
}

// What a hook of the caller sets is overridden.
func TestDialerOverridesAHook(t *testing.T) {
	t.Parallel()
	hook := func(_, _ string, rc syscall.RawConn) error {
		tcptest.SetsockoptInt(t, tcptest.RawSocket{RawConn: rc}, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		tcptest.SetsockoptInt(t, tcptest.RawSocket{RawConn: rc}, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 99)
		return nil
	}
	for _, disable := range []bool{false, true} {
		c := keepalive.Config{Disable: disable, Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
		d := &keepalive.Dialer{NetDialer: &net.Dialer{Control: hook}, Config: c}
		conn, _ := tcptest.Pair(t, d, tcptest.PlainListen(t, "tcp4"))
		tcptest.AssertOptions(t, c, conn)
	}
}
