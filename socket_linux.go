//go:build !keepalive_portable

package keepalive

import (
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

func resolve(c Config) (Config, error) {
	resolved, err := policy.Resolve(policy.Config(c))
	return Config(resolved), err
}

// setUnconnected sets c on a socket that is neither connected nor listening.
func setUnconnected(rc syscall.RawConn, c Config) error {
	return sockopt.RawControl(rc, func(fd uintptr) error { return policy.SetUnconnected(fd, policy.Config(c)) })
}

// setConnected sets the resolved c on a connection that was just made.
func setConnected(socket syscall.Conn, c Config) error {
	return sockopt.Control(socket, func(fd uintptr) error { return policy.SetConnected(fd, policy.Config(c)) })
}

// changeConnected is setConnected for a connection that may be probing.
func changeConnected(socket syscall.Conn, c Config) error {
	return sockopt.Control(socket, func(fd uintptr) error { return policy.Change(fd, policy.Config(c)) })
}

func get(socket syscall.Conn) (Config, error) {
	var c policy.Config
	err := sockopt.Control(socket, func(fd uintptr) (err error) {
		c, err = policy.Get(fd)
		return err
	})
	return Config(c), err
}

// checkListener returns an error if the connections that ln accepts are known
// to lack an option that c sets.
func checkListener(ln net.Listener, c Config) error {
	socket, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	return sockopt.Control(socket, func(fd uintptr) error { return policy.CheckListening(fd, policy.Config(c)) })
}

func isTCPSocket(socket syscall.Conn) bool {
	p := protocolOf(socket)
	return p == unix.IPPROTO_TCP || p == unix.IPPROTO_MPTCP
}

func isMPTCPSocket(socket syscall.Conn) bool { return protocolOf(socket) == unix.IPPROTO_MPTCP }

func protocolOf(socket syscall.Conn) (p int) {
	sockopt.Control(socket, func(fd uintptr) error {
		p = policy.Protocol(fd)
		return nil
	})
	return p
}

// wasEstablished reports whether conn is known to have been established, or has
// no socket that tells.
func wasEstablished(conn net.Conn) bool {
	established := true
	ask(conn, func(fd uintptr) { established = policy.WasEstablished(fd) })
	return established
}

// gaveUp reports whether the kernel is known to have given up the peer of conn.
func gaveUp(conn net.Conn) (given bool) {
	ask(conn, func(fd uintptr) {
		if policy.Protocol(fd) == unix.IPPROTO_MPTCP { // whose subflow is closed already
			given = isClosed(conn)
		} else {
			given = policy.GaveUp(fd)
		}
	})
	return given
}

// ask calls f with the descriptor of conn, if it has one.
func ask(conn net.Conn, f func(fd uintptr)) {
	if socket, err := unwrap(conn); err == nil {
		sockopt.Control(socket, func(fd uintptr) error {
			f(fd)
			return nil
		})
	}
}

func stat(socket syscall.Conn) (Status, error) {
	rc, err := sockopt.RawConn(socket)
	if err != nil {
		return Status{}, err
	}
	call := statCalls.Get().(*statCall)
	defer statCalls.Put(call)
	return call.do(rc)
}

// A statCall is a function for RawConn.Control and its results. net lets them
// escape. Four allocations for every call would take a quarter of the time of
// Stat (BenchmarkStat).
type statCall struct {
	status policy.Status
	err    error
	run    func(fd uintptr)
}

var statCalls = sync.Pool{New: func() any {
	call := new(statCall)
	call.run = func(fd uintptr) { call.status, call.err = policy.Stat(fd) }
	return call
}}

func (call *statCall) do(rc syscall.RawConn) (Status, error) {
	call.status, call.err = policy.Status{}, sockopt.ErrNotCalled
	if err := rc.Control(call.run); err != nil {
		return Status{}, fmt.Errorf("keepalive: %w", err)
	}
	return Status(call.status), call.err
}
