//go:build !linux || keepalive_portable

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"
)

// unsupported is the error for what net can't do on this system.
func unsupported(what string) error {
	return fmt.Errorf("keepalive: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

// check reports what net is known not to set on this system, so that the error
// comes before anything has happened. What depends on the release is left to the
// kernel, see optionError.
func check(c Config, fresh bool) error {
	if what := lacking(runtime.GOOS, c, fresh); what != "" {
		return unsupported(what)
	}
	if c.Disable && alwaysOn() {
		return unsupported("SO_KEEPALIVE off, while net.inet.tcp.always_keepalive is set,")
	}
	return nil
}

// lacking names an option of c that net can't set on a system, "" where there is
// none. A fresh socket is one on which nobody can have switched keepalive on.
//
// It follows SetKeepAliveConfig in net/tcpsock_*.go, and what that calls in
// net/tcpsockopt_*.go.
func lacking(system string, c Config, fresh bool) string {
	if c.UserTimeout != 0 {
		return "TCP_USER_TIMEOUT"
	}
	options := timing(c)
	switch system {
	case "openbsd": // no option per socket
	case "js", "wasip1": // a network in memory, where nobody falls silent
		if !c.Disable {
			return "SO_KEEPALIVE"
		}
	case "plan9":
		if c.Disable && !fresh {
			return "SO_KEEPALIVE off" // net does nothing, without an error
		}
		c.Idle = 0 // can be had: the period of all probes
		options = timing(c)
	case "solaris":
		// Before 11.4 net sets their product, refuses Interval alone, and
		// drops Count alone without an error.
		if (c.Interval != 0) == (c.Count != 0) {
			return ""
		}
		return "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,"
	default:
		return ""
	}
	if len(options) > 0 {
		return options[0].name
	}
	return ""
}

// option is one of the options that c sets, and the Config that sets nothing
// else.
type option struct {
	name string
	only Config
}

// timing returns the options of c in the order in which they are tried one by
// one: Count first, for illumos takes an Interval only if Interval × Count stays
// below 8 minutes, with the Count that the socket has.
func timing(c Config) []option {
	var options []option
	if c.Count != 0 {
		options = append(options, option{"TCP_KEEPCNT", Config{Disable: c.Disable, Count: c.Count}})
	}
	if c.Interval != 0 {
		options = append(options, option{"TCP_KEEPINTVL", Config{Disable: c.Disable, Interval: c.Interval}})
	}
	if c.Idle != 0 {
		options = append(options, option{"TCP_KEEPIDLE", Config{Disable: c.Disable, Idle: c.Idle}})
	}
	return options
}

// dial tunes the connection once it is open: net has no call that does so
// before.
func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	if err := check(c, true); err != nil {
		return nil, err
	}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := apply(conn, c); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial %s %s: %w", network, address, err)
	}
	return conn, nil
}

// listen leaves the listening socket alone: SO_KEEPALIVE on it would end it on
// macOS and the BSDs.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	if err := check(c, true); err != nil {
		return nil, err
	}
	ln, err := nlc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &Listener{Listener: ln, config: c, tcp: true}, nil
}

// settled is a Config as setOpen takes it.
type settled = Config

func checkListener(_ net.Listener, c settled) (settled, error) { return c, nil }

// setFresh refuses all but what a fresh socket has by itself, keepalive off.
// Even SO_KEEPALIVE can't be written here: the socket may be about to listen,
// which is the end of it on macOS and the BSDs, and nothing in what Control is
// told says whether it is.
func setFresh(_ syscall.RawConn, c Config) error {
	if err := check(c, true); err != nil {
		return err
	}
	if options := timing(c); len(options) > 0 {
		return unsupported(options[0].name + " before a socket is connected")
	}
	if !c.Disable {
		return unsupported("SO_KEEPALIVE before a socket is connected")
	}
	return nil
}

// tcpConn is what a *net.TCPConn has, embedded or not.
type tcpConn interface {
	SetKeepAlive(bool) error
	SetKeepAliveConfig(net.KeepAliveConfig) error
}

// setOpen leaves zero fields as they are: net can't read what they hold.
func setOpen(sc syscall.Conn, c settled) error {
	conn, ok := sc.(tcpConn)
	if !ok {
		return unsupported(fmt.Sprintf("SO_KEEPALIVE of %T", sc))
	}
	if lacking(runtime.GOOS, Config{}, true) != "" {
		return nil // there is no keepalive, and check let nothing pass but off
	}
	if err := conn.SetKeepAliveConfig(netConfig(c)); err != nil {
		return setOneByOne(conn, c)
	}
	if c.Disable && c.Idle != 0 {
		// Windows before 10.0.16299 sets timing by SIO_KEEPALIVE_VALS, which
		// turns keepalive on.
		return setKeepalive(conn, c)
	}
	return nil
}

// netConfig returns c in net's terms. -1 is its "leave alone". Times are whole
// seconds on every system: Plan 9 and old Solaris would take milliseconds.
func netConfig(c Config) net.KeepAliveConfig {
	nc := net.KeepAliveConfig{Enable: !c.Disable, Idle: -1, Interval: -1, Count: -1}
	if c.Idle != 0 {
		nc.Idle = time.Duration(ceil(c.Idle, time.Second)) * time.Second
	}
	if c.Interval != 0 {
		nc.Interval = time.Duration(ceil(c.Interval, time.Second)) * time.Second
	}
	if c.Count != 0 {
		nc.Count = c.Count
	}
	return nc
}

// setOneByOne sets what was refused together, to learn which option it is about:
// net does not say. Where even SO_KEEPALIVE is refused it is about no value.
func setOneByOne(conn tcpConn, c Config) error {
	for _, o := range timing(c) {
		if err := conn.SetKeepAliveConfig(netConfig(o.only)); err != nil {
			if gone := setKeepalive(conn, c); gone != nil {
				return gone
			}
			return refused(o.name, err)
		}
	}
	return setKeepalive(conn, c)
}

func refused(option string, err error) error {
	return &optionError{option + " on " + runtime.GOOS, option, err}
}

func setKeepalive(conn tcpConn, c Config) error {
	if err := conn.SetKeepAlive(!c.Disable); err != nil {
		return refused("SO_KEEPALIVE", err)
	}
	return nil
}

func speaks(sc syscall.Conn) (tcp, multipath bool) {
	_, tcp = sc.(tcpConn)
	return tcp, false
}

// get can't: net reads no socket option.
func get(syscall.Conn) (Config, error) {
	return Config{}, unsupported("getsockopt TCP_KEEPIDLE")
}

// settle leaves zero fields zero: setOpen has no need of values.
func settle(c Config) (settled, error) {
	return c, check(c, false)
}

func stat(syscall.Conn) (Status, error) {
	return Status{}, unsupported("getsockopt TCP_INFO")
}
