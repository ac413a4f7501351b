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
		return &optionError{"setsockopt", o.name, err}
	}
	return nil
}

func (o *option) get(fd int) (int, error) {
	value, err := unix.GetsockoptInt(fd, o.level, o.opt)
	if err != nil {
		return 0, &optionError{"getsockopt", o.name, err}
	}
	return value, nil
}

// optionError names the option that the kernel refused.
type optionError struct {
	call, option string
	errno        error
}

func (e *optionError) Error() string {
	return "keepalive: " + e.call + " " + e.option + ": " + e.errno.Error()
}

func (e *optionError) Unwrap() error { return e.errno }

// Is adds the errno of an option that the kernel or the protocol lacks to those
// that match errors.ErrUnsupported by themselves, EOPNOTSUPP among them.
func (e *optionError) Is(target error) bool {
	return target == errors.ErrUnsupported && e.errno == unix.ENOPROTOOPT
}

func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	nd.ControlContext = controlContext(nd, c)
	return nd.DialContext(ctx, network, address)
}

// controlContext runs the hook that nd has, then Control. ControlContext takes
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
		return c.Control(network, address, rc)
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
		return c.Control(network, address, rc)
	}
	return nlc.Listen(ctx, network, address)
}

// inherited stands for a UserTimeout that connections have already.
const inherited time.Duration = -1

// checkListener returns c as connections accepted from ln need it, or what they
// are known to lack. Either way it is TCP_USER_TIMEOUT: MPTCP does not have it,
// so that it is off; others inherit it from the listening socket, and net leaves
// it so. What wraps a TCPListener may set it itself.
func checkListener(ln net.Listener, c Config) (Config, error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return c, nil
	}
	held, err := onConfig.controlConn(sc, Config{}, readUserTimeout)
	if err != nil && c.UserTimeout != 0 {
		return Config{}, err
	}
	if _, bare := ln.(*net.TCPListener); bare && held.UserTimeout == c.UserTimeout {
		c.UserTimeout = inherited
	}
	return c, nil
}

func readUserTimeout(fd int, c *Config) error {
	ms, err := tcpUserTimeout.get(fd)
	c.UserTimeout = time.Duration(ms) * time.Millisecond
	return err
}

// setFresh writes what c sets, and leaves the rest to the sysctl.
func setFresh(rc syscall.RawConn, c Config) error {
	_, err := onConfig.control(rc, c, writeSet)
	return err
}

func writeSet(fd int, c *Config) error {
	for _, o := range []struct {
		option *option
		value  int
	}{
		{&tcpUserTimeout, ceil(c.UserTimeout, time.Millisecond)},
		{&tcpKeepcnt, c.Count},
		{&tcpKeepintvl, ceil(c.Interval, time.Second)},
		{&tcpKeepidle, ceil(c.Idle, time.Second)},
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

// setOpen writes all of c, which is settled, to an open connection.
func setOpen(sc syscall.Conn, c Config) error {
	_, err := onConfig.controlConn(sc, c, writeAll)
	return err
}

// writeAll writes first what can be refused, so that a refusal leaves the
// socket as it was. SO_KEEPALIVE comes last, so that it arms the timer with the
// new Idle.
func writeAll(fd int, c *Config) error {
	if err := setUserTimeout(fd, c.UserTimeout); err != nil {
		return err
	}
	if err := tcpKeepcnt.set(fd, c.Count); err != nil {
		return err
	}
	if err := tcpKeepintvl.set(fd, ceil(c.Interval, time.Second)); err != nil {
		return err
	}
	if err := setIdle(fd, ceil(c.Idle, time.Second)); err != nil {
		return err
	}
	return setKeepalive(fd, c)
}

// setUserTimeout takes a socket that can't have it, MPTCP's, to have it off.
func setUserTimeout(fd int, d time.Duration) error {
	if d == inherited {
		return nil
	}
	err := tcpUserTimeout.set(fd, ceil(d, time.Millisecond))
	if d == 0 && errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// setIdle spares a write that changes nothing: while probes are out it would
// send one at once and count it (tcp_sock_set_keepidle_locked re-arms the timer,
// which is overdue).
func setIdle(fd, seconds int) error {
	now, err := tcpKeepidle.get(fd)
	if err != nil || now == seconds {
		return err
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

// onConfig does what takes or gives a Config.
var onConfig operations[Config]

// isLost reports whether err says that a connection died before it was tuned.
// On Linux a TCP socket takes options in any state, so that only a connection
// that has been closed is left.
func isLost(err error) bool {
	return errors.Is(err, net.ErrClosed)
}

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
func settle(c Config) (Config, error) {
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
			return Config{}, fmt.Errorf("keepalive: net.ipv4.%s is %d, a socket accepts 1 to %d: set Config.%s",
				v.sysctl, v.value, v.max, v.field)
		}
	}
	return e, nil
}
