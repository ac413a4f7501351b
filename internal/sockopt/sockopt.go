// Package sockopt sets and reads socket options. It holds what differs between
// systems: the numbers of the options, and the meaning of the errors.
package sockopt

import (
	"errors"
	"fmt"
	"syscall"
)

// An Option is a socket option that holds an int.
type Option struct {
	Name   string // as in tcp(7)
	Level  int
	Number int // 0 where the system lacks the option, or golang.org/x/sys does not name it
}

// The options of a keepalive policy. Other systems than Linux have options that
// sound like the last two and mean something else: see docs/systems.md.
var (
	KeepAlive   = Option{"SO_KEEPALIVE", solSocket, soKeepalive}
	KeepIdle    = Option{"TCP_KEEPIDLE", ipprotoTCP, tcpKeepidle}
	KeepIntvl   = Option{"TCP_KEEPINTVL", ipprotoTCP, tcpKeepintvl}
	KeepCnt     = Option{"TCP_KEEPCNT", ipprotoTCP, tcpKeepcnt}
	UserTimeout = Option{"TCP_USER_TIMEOUT", ipprotoTCP, onLinux(18)} // include/uapi/linux/tcp.h
	MaxRTO      = Option{"TCP_RTO_MAX_MS", ipprotoTCP, onLinux(44)}
)

// onLinux returns the number of an option that this package supports on Linux
// alone.
func onLinux(number int) int {
	if supportsLinux {
		return number
	}
	return 0
}

// Set sets the option of the socket fd.
func (o *Option) Set(fd uintptr, value int) error {
	if err := o.set(fd, value); err != nil {
		return newError("setsockopt", o.Name, err)
	}
	return nil
}

// Get returns the option of the socket fd.
func (o *Option) Get(fd uintptr) (int, error) {
	if o.Number == 0 {
		return 0, Unsupported(o.Name, "getsockopt "+o.Name)
	}
	value, err := o.get(fd)
	if err != nil {
		return 0, newError("getsockopt", o.Name, err)
	}
	return value, nil
}

// Control calls f with the descriptor of conn, which stays open meanwhile.
func Control(conn syscall.Conn, f func(fd uintptr) error) error {
	rc, err := RawConn(conn)
	if err != nil {
		return err
	}
	return RawControl(rc, f)
}

// RawConn returns the [syscall.RawConn] of conn, never nil without an error.
func RawConn(conn syscall.Conn) (syscall.RawConn, error) {
	rc, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("keepalive: %w", err)
	}
	if rc == nil {
		return nil, fmt.Errorf("keepalive: SyscallConn of %T returned nil", conn)
	}
	return rc, nil
}

// RawControl is [Control] for the socket of rc.
func RawControl(rc syscall.RawConn, f func(fd uintptr) error) error {
	if rc == nil {
		return errors.New("keepalive: syscall.RawConn is nil, want that of a socket")
	}
	err := ErrNotCalled
	if closed := rc.Control(func(fd uintptr) { err = f(fd) }); closed != nil {
		return fmt.Errorf("keepalive: %w", closed)
	}
	return err
}

// ErrNotCalled says that a [syscall.RawConn] did not do as it promises.
var ErrNotCalled = errors.New("keepalive: Control of syscall.RawConn returned without a call of its function")
