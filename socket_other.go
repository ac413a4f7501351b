//go:build !linux || keepalive_portable

package keepalive

import (
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
)

func checkListener(net.Listener, Config) error { return nil }

// setUnconnected accepts only what a fresh socket has already, keepalive off.
// Even SO_KEEPALIVE can't be set: the socket may be about to listen, which
// SO_KEEPALIVE breaks on macOS and the BSDs, and Control is not told.
func setUnconnected(_ syscall.RawConn, c Config) error {
	if err := checkSupported(c, true); err != nil {
		return err
	}
	if option := firstOption(c); option != "" {
		return sockopt.Unsupported(option, option+" before a socket is connected")
	}
	if !c.Disable {
		return sockopt.Unsupported("SO_KEEPALIVE", "SO_KEEPALIVE before a socket is connected")
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
		return sockopt.Unsupported("SO_KEEPALIVE", fmt.Sprintf("SO_KEEPALIVE of %T", socket))
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
		nc.Idle = time.Duration(policy.RoundUp(c.Idle, time.Second)) * time.Second
	}
	if c.Interval != 0 {
		nc.Interval = time.Duration(policy.RoundUp(c.Interval, time.Second)) * time.Second
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
			return sockopt.NewError(o.Name, err)
		}
	}
	return setKeepAlive(conn, c)
}

func setKeepAlive(conn tcpConn, c Config) error {
	if err := conn.SetKeepAlive(!c.Disable); err != nil {
		return sockopt.NewError(sockopt.KeepAlive.Name, err)
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
		return Config{}, sockopt.Unsupported("TCP_KEEPIDLE", fmt.Sprintf("getsockopt TCP_KEEPIDLE of %T", socket))
	}
	var c policy.Config
	err := sockopt.Control(socket, func(fd uintptr) (err error) {
		c, err = policy.Get(fd)
		return err
	})
	if c.Disable && sysctl.AlwaysKeepalive() {
		c.Disable = false // the kernel probes all the same
	}
	return Config(c), err
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

// resolve leaves zero fields zero: setConnected leaves their options alone.
func resolve(c Config) (Config, error) {
	return c, checkSupported(c, false)
}

func stat(syscall.Conn) (Status, error) {
	return Status{}, sockopt.Unsupported("TCP_INFO", "getsockopt TCP_INFO")
}

// Only Linux tells how a connection has ended.
func wasEstablished(net.Conn) bool { return true }
func gaveUp(net.Conn) bool         { return false }
