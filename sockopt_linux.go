//go:build !keepalive_portable

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/procfs"
	"golang.org/x/sys/unix"
)

// option is a socket option that holds an int.
type option struct {
	name       string
	level, opt int
}

var (
	soKeepalive    = option{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE}
	tcpKeepidle    = option{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}
	tcpKeepintvl   = option{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}
	tcpKeepcnt     = option{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT}
	tcpUserTimeout = option{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}
)

func (o *option) set(fd, value int) error {
	if err := unix.SetsockoptInt(fd, o.level, o.opt, value); err != nil {
		return &optionError{"setsockopt " + o.name, o.name, err}
	}
	return nil
}

func (o *option) get(fd int) (int, error) {
	value, err := unix.GetsockoptInt(fd, o.level, o.opt)
	if err != nil {
		return 0, &optionError{"getsockopt " + o.name, o.name, err}
	}
	return value, nil
}

func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	nd.ControlContext = controlContext(nd, c)
	return nd.DialContext(ctx, network, address)
}

// controlContext runs the hook that nd has, then sets c. ControlContext takes
// precedence over Control, as in net.
func controlContext(nd *net.Dialer, c Config) func(context.Context, string, string, syscall.RawConn) error {
	hookContext, hook := nd.ControlContext, nd.Control
	return func(ctx context.Context, network, address string, rc syscall.RawConn) error {
		var err error
		if hookContext != nil {
			err = hookContext(ctx, network, address, rc)
		} else if hook != nil {
			err = hook(network, address, rc)
		}
		if err != nil {
			return err
		}
		return setFresh(rc, c)
	}
}

func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	hook := nlc.Control
	nlc.Control = func(network, address string, rc syscall.RawConn) error {
		if hook != nil {
			if err := hook(network, address, rc); err != nil {
				return err
			}
		}
		return setFresh(rc, c)
	}
	return nlc.Listen(ctx, network, address)
}

// settled is a Config of which every field is to be written to connections,
// but for what is known of them all.
type settled struct {
	Config
	hasUserTimeout bool // it is there already
	isNew          bool // keepalive is on only since it was accepted, if at all
}

// checkListener returns c with what is known of the connections that ln accepts,
// or what they are known to lack. MPTCP is what lacks options.
//
// They inherit the options of the listening socket. net leaves TCP_USER_TIMEOUT
// so, and switches keepalive on when it accepts. What wraps a TCPListener may do
// anything.
func checkListener(ln net.Listener, c settled) (settled, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return c, nil
	}
	held, err := onConfig.controlConn(sc, c.Config, readInherited)
	if err != nil {
		return c, err
	}
	if _, bare := ln.(*net.TCPListener); bare {
		c.hasUserTimeout = held.UserTimeout == c.UserTimeout
		c.isNew = held.Disable
	}
	return c, nil
}

// readInherited replaces the Config that connections are to have by the one that
// they inherit, as far as it matters.
func readInherited(fd int, c *Config) error {
	if _, err := tcpKeepidle.get(fd); err != nil { // MPTCP before Linux 6.10
		return err
	}
	keepalive, err := soKeepalive.get(fd)
	if err != nil {
		return err
	}
	ms, err := tcpUserTimeout.get(fd)
	if err != nil && (c.UserTimeout != 0 || !errors.Is(err, errors.ErrUnsupported)) {
		return err
	}
	*c = Config{Disable: keepalive == 0, UserTimeout: time.Duration(ms) * time.Millisecond}
	return nil
}

// speaks reports whether a socket is one of TCP, and whether of MPTCP.
func speaks(sc syscall.Conn) (tcp, multipath bool) {
	protocol, err := onInt.controlConn(sc, 0, readProtocol)
	multipath = err == nil && protocol == unix.IPPROTO_MPTCP
	return multipath || err == nil && protocol == unix.IPPROTO_TCP, multipath
}

func readProtocol(fd int, protocol *int) (err error) {
	*protocol, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err
}

// setFresh writes what c sets, and leaves the rest to the sysctl.
func setFresh(rc syscall.RawConn, c Config) error {
	if rc == nil {
		return errors.New("keepalive: Control needs a socket, got nil")
	}
	_, err := onConfig.control(rc, c, writeSet)
	return err
}

func writeSet(fd int, c *Config) error {
	for _, o := range []struct {
		option *option
		value  int
	}{
		{&tcpUserTimeout, int(ceil(c.UserTimeout, time.Millisecond))},
		{&tcpKeepcnt, c.Count},
		{&tcpKeepintvl, int(ceil(c.Interval, time.Second))},
		{&tcpKeepidle, int(ceil(c.Idle, time.Second))},
	} {
		if o.value == 0 {
			continue
		}
		if err := o.option.set(fd, o.value); err != nil {
			return err
		}
	}
	return setKeepalive(fd, c)
}

// setOpen writes all of c to an open connection.
func setOpen(sc syscall.Conn, c settled) error {
	_, err := onSettled.controlConn(sc, c, writeAll)
	return err
}

// writeAll writes first what can be refused, so that a refusal leaves the
// socket as it was. SO_KEEPALIVE comes last, so that it arms the timer with the
// new Idle.
func writeAll(fd int, c *settled) error {
	if err := setUserTimeout(fd, c); err != nil {
		return err
	}
	if err := tcpKeepcnt.set(fd, c.Count); err != nil {
		return err
	}
	if err := tcpKeepintvl.set(fd, int(ceil(c.Interval, time.Second))); err != nil {
		return err
	}
	if err := setIdle(fd, c); err != nil {
		return err
	}
	return setKeepalive(fd, &c.Config)
}

// setUserTimeout takes a socket that can't have it, MPTCP's, to have it off.
func setUserTimeout(fd int, c *settled) error {
	if c.hasUserTimeout {
		return nil
	}
	err := tcpUserTimeout.set(fd, int(ceil(c.UserTimeout, time.Millisecond)))
	if c.UserTimeout == 0 && errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// setIdle spares a write that changes nothing: while probes are out it would
// send one at once and count it (tcp_sock_set_keepidle_locked re-arms the timer,
// which is overdue). A new connection has none out, unless it has waited to be
// accepted for longer than the Idle that net has set. Where that is the same
// Idle, one probe too many is what reading it each time would spare.
func setIdle(fd int, c *settled) error {
	seconds := int(ceil(c.Idle, time.Second))
	if !c.isNew {
		now, err := tcpKeepidle.get(fd)
		if err != nil || now == seconds {
			return err
		}
	}
	return tcpKeepidle.set(fd, seconds)
}

func setKeepalive(fd int, c *Config) error {
	if c.Disable {
		return soKeepalive.set(fd, 0)
	}
	return soKeepalive.set(fd, 1)
}

func get(sc syscall.Conn) (Config, error) {
	return onConfig.controlConn(sc, Config{}, readAll)
}

// readAll reads the TCP options first: unlike SO_KEEPALIVE they exist on no
// other socket.
func readAll(fd int, c *Config) error {
	idle, err := tcpKeepidle.get(fd)
	if err != nil {
		return err
	}
	interval, err := tcpKeepintvl.get(fd)
	if err != nil {
		return err
	}
	count, err := tcpKeepcnt.get(fd)
	if err != nil {
		return err
	}
	userTimeout, err := tcpUserTimeout.get(fd)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) { // off on MPTCP
		return err
	}
	keepalive, err := soKeepalive.get(fd)
	*c = Config{
		Disable:     keepalive == 0,
		Idle:        time.Duration(idle) * time.Second,
		Interval:    time.Duration(interval) * time.Second,
		Count:       count,
		UserTimeout: time.Duration(userTimeout) * time.Millisecond,
	}
	return err
}

var (
	onConfig  operations[Config]
	onSettled operations[settled]
	onInt     operations[int]
)

func systemDefaults() Config {
	idle, interval, count := procfs.Keepalive(procfs.IPv4)
	return Config{
		Idle:     time.Duration(idle) * time.Second,
		Interval: time.Duration(interval) * time.Second,
		Count:    count,
	}
}

// settle fills in the system's defaults, which have to be written like any
// other value, and reports the one that no socket accepts.
func settle(c Config) (settled, error) {
	e := c.Effective()
	for _, v := range []struct {
		sysctl, field string
		unset         bool
		value, max    int
	}{
		{"tcp_keepalive_time", "Idle", c.Idle == 0, int(e.Idle / time.Second), maxSeconds},
		{"tcp_keepalive_intvl", "Interval", c.Interval == 0, int(e.Interval / time.Second), maxSeconds},
		{"tcp_keepalive_probes", "Count", c.Count == 0, e.Count, maxCount},
	} {
		if v.unset && (v.value < 1 || v.value > v.max) {
			return settled{}, fmt.Errorf("keepalive: net.ipv4.%s is %d, a socket accepts 1 to %d: set Config.%s",
				v.sysctl, v.value, v.max, v.field)
		}
	}
	return settled{Config: e}, nil
}
