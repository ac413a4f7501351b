//go:build !linux || keepalive_portable

package keepalive

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
)

// checkSupported returns an error for an option of c that net is known not to
// set on this system, so that it comes before anything has happened. What
// else depends on the release is left to the kernel, see sockopt.Error.
func checkSupported(c Config, fresh bool) error {
	if option := unsupportedOption(runtime.GOOS, c, fresh); option != "" {
		return sockopt.Unsupported(option)
	}
	if option := missingOption(sockopt.Lacks, c); option != "" {
		return sockopt.Unsupported(option)
	}
	if c.Disable && sysctl.AlwaysKeepalive() {
		return sockopt.Unsupported("SO_KEEPALIVE off, while net.inet.tcp.always_keepalive is set,")
	}
	return nil
}

// unsupportedOption names the first option of c that net can't set on a system,
// "" if there is none. On a fresh socket nobody can have turned keepalive on.
//
// It follows SetKeepAliveConfig in net/tcpsock_*.go and what that calls in
// net/tcpsockopt_*.go.
func unsupportedOption(goos string, c Config, fresh bool) string {
	for o := range oneByOne(c) {
		if o.zero != systemDefault {
			return o.Name // only Linux has it
		}
	}
	switch goos {
	case "openbsd": // no timing per socket
		return firstOption(c)
	case "js", "wasip1":
		if !c.Disable {
			return sockopt.KeepAlive.Name
		}
		return firstOption(c)
	case "plan9":
		if c.Disable && !fresh {
			return "SO_KEEPALIVE off" // net ignores it without an error
		}
		c.Idle = 0 // supported: the period of all probes
		return firstOption(c)
	case "solaris":
		// Before 11.4 net sets their product, refuses Interval alone,
		// and ignores Count alone without an error.
		if (c.Interval != 0) != (c.Count != 0) {
			return "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,"
		}
	}
	return ""
}

// missingOption names the first option of c that can't be set on a release of
// the system that lacks options, "" if there is none.
//
// On such a Windows net sets Idle and Interval together, by SIO_KEEPALIVE_VALS:
// Idle alone would make Interval 1 s, and Interval alone is refused.
func missingOption(lacks func(sockopt.Option) bool, c Config) string {
	switch {
	case (c.Idle != 0) != (c.Interval != 0) && (lacks(sockopt.KeepIdle) || lacks(sockopt.KeepIntvl)):
		return "TCP_KEEPIDLE without TCP_KEEPINTVL, or the reverse,"
	case c.Count != 0 && lacks(sockopt.KeepCnt):
		return sockopt.KeepCnt.Name
	}
	return ""
}

// hasKeepAlive reports whether the network of a system has keepalive. That of
// js and wasip1 is in memory.
func hasKeepAlive(goos string) bool { return goos != "js" && goos != "wasip1" }

// firstOption names the first option in the order of oneByOne that c sets.
func firstOption(c Config) string {
	for o := range oneByOne(c) {
		return o.Name
	}
	return ""
}

// oneByOne returns the options that c sets, each with a Config that sets
// nothing else. Count comes before Interval: illumos takes an Interval only if
// Interval × Count stays below 8 minutes, with the Count that the socket has.
func oneByOne(c Config) func(yield func(*option, Config) bool) {
	return func(yield func(*option, Config) bool) {
		for i := range slices.Backward(options[:]) {
			o := &options[i]
			only := o.set(Config{Disable: c.Disable}, o.get(c))
			if o.get(c) != 0 && !yield(o, only) {
				return
			}
		}
	}
}

// dial sets c after connecting: net has no call that does so before.
func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	if err := checkSupported(c, true); err != nil {
		return nil, err
	}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := applyNew(conn, c); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial %s %s: %w", network, address, err)
	}
	return conn, nil
}

// listen leaves the listening socket alone: SO_KEEPALIVE breaks it on macOS and
// the BSDs.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	if err := checkSupported(c, true); err != nil {
		return nil, err
	}
	ln, err := nlc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &Listener{inner: ln, config: c}, nil
}

func checkListener(net.Listener, Config) error { return nil }

// setUnconnected accepts only what a fresh socket has already, keepalive off.
// Even SO_KEEPALIVE can't be set: the socket may be about to listen, which
// SO_KEEPALIVE breaks on macOS and the BSDs, and Control is not told.
func setUnconnected(_ syscall.RawConn, c Config) error {
	if err := checkSupported(c, true); err != nil {
		return err
	}
	if option := firstOption(c); option != "" {
		return sockopt.Unsupported(option + " before a socket is connected")
	}
	if !c.Disable {
		return sockopt.Unsupported("SO_KEEPALIVE before a socket is connected")
	}
	return nil
}

// tcpConn is implemented by *net.TCPConn and by what embeds one.
type tcpConn interface {
	SetKeepAlive(bool) error
	SetKeepAliveConfig(net.KeepAliveConfig) error
}

// asTCPConn returns the tcpConn that socket is, or shows by NetConn, as a
// watched connection does.
func asTCPConn(socket syscall.Conn) (conn tcpConn, ok bool) {
	var inner any = socket
	for range 16 { // as unwrap does
		switch c := inner.(type) {
		case tcpConn:
			return c, true
		case interface{ NetConn() net.Conn }:
			inner = c.NetConn()
		default:
			return nil, false
		}
	}
	return nil, false
}

// setConnected sets the fields of c that are not zero: net can't read the
// system's defaults.
func setConnected(socket syscall.Conn, c Config) error {
	conn, ok := asTCPConn(socket)
	if !ok {
		return sockopt.Unsupported(fmt.Sprintf("SO_KEEPALIVE of %T", socket))
	}
	if !hasKeepAlive(runtime.GOOS) {
		return nil // checkSupported has refused everything but off
	}
	if err := conn.SetKeepAliveConfig(netConfig(c)); err != nil {
		return setOneByOne(conn, c)
	}
	if c.Disable && c.Idle != 0 {
		// Windows before 10.0.16299 sets timing by SIO_KEEPALIVE_VALS,
		// which turns keepalive on.
		return setKeepAlive(conn, c)
	}
	return nil
}

func changeConnected(socket syscall.Conn, c Config) error { return setConnected(socket, c) }

// netConfig returns c as net takes it, where -1 leaves an option alone. Times
// are whole seconds on every system: Plan 9 and old Solaris would take
// milliseconds.
func netConfig(c Config) net.KeepAliveConfig {
	nc := net.KeepAliveConfig{Enable: !c.Disable, Idle: -1, Interval: -1, Count: -1}
	if c.Idle != 0 {
		nc.Idle = time.Duration(roundUp(c.Idle, time.Second)) * time.Second
	}
	if c.Interval != 0 {
		nc.Interval = time.Duration(roundUp(c.Interval, time.Second)) * time.Second
	}
	if c.Count != 0 {
		nc.Count = c.Count
	}
	return nc
}

// setOneByOne sets the options that were refused together one by one, since
// net's error does not name the option. Where even SO_KEEPALIVE is refused, no
// value is at fault.
func setOneByOne(conn tcpConn, c Config) error {
	for o, only := range oneByOne(c) {
		if err := conn.SetKeepAliveConfig(netConfig(only)); err != nil {
			if dead := setKeepAlive(conn, c); dead != nil {
				return dead
			}
			return &sockopt.Error{Option: o.Name, Err: err}
		}
	}
	return setKeepAlive(conn, c)
}

func setKeepAlive(conn tcpConn, c Config) error {
	if err := conn.SetKeepAlive(!c.Disable); err != nil {
		return &sockopt.Error{Option: sockopt.KeepAlive.Name, Err: err}
	}
	return nil
}

func isTCPSocket(socket syscall.Conn) bool {
	_, ok := asTCPConn(socket)
	return ok
}

func isMPTCPSocket(syscall.Conn) bool { return false }

// get asks the address whether the socket is TCP's. Systems differ in what they
// answer for a TCP option of another socket.
func get(socket syscall.Conn) (Config, error) {
	if !hasTCPAddr(socket) {
		return Config{}, sockopt.Unsupported(fmt.Sprintf("getsockopt TCP_KEEPIDLE of %T", socket))
	}
	var c Config
	err := sockopt.Control(socket, func(fd uintptr) (err error) {
		c, err = readOptions(fd)
		return err
	})
	if c.Disable && sysctl.AlwaysKeepalive() {
		c.Disable = false // the kernel probes all the same
	}
	return c, err
}

func hasTCPAddr(socket syscall.Conn) bool {
	var addr net.Addr
	switch s := socket.(type) {
	case net.Conn:
		addr = s.LocalAddr()
	case net.Listener:
		addr = s.Addr()
	}
	_, ok := addr.(*net.TCPAddr)
	return ok
}

func systemDefaults() (c Config) {
	c.Idle, c.Interval, c.Count = sysctl.Documented(runtime.GOOS)
	return c
}

// resolve leaves zero fields zero: setConnected leaves their options alone.
func resolve(c Config) (Config, error) {
	return c, checkSupported(c, false)
}

// retransmissions returns false: what is known here is how Linux does it.
func retransmissions() (retries int, maxRTO time.Duration, ok bool) { return 0, 0, false }

func stat(syscall.Conn) (Status, error) {
	return Status{}, sockopt.Unsupported("getsockopt TCP_INFO")
}
