//go:build !keepalive_portable

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
	"golang.org/x/sys/unix"
)

// dial sets c after the hook of nd and before the socket connects.
// ControlContext takes precedence over Control, as in net.
func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	hookContext, hook := nd.ControlContext, nd.Control
	nd.ControlContext = func(ctx context.Context, network, address string, rc syscall.RawConn) error {
		var err error
		if hookContext != nil {
			err = hookContext(ctx, network, address, rc)
		} else if hook != nil {
			err = hook(network, address, rc)
		}
		if err != nil {
			return err
		}
		return setUnconnected(rc, c)
	}
	return nd.DialContext(ctx, network, address)
}

// listen sets c after the hook of nlc and before the socket listens.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	hook := nlc.Control
	nlc.Control = func(network, address string, rc syscall.RawConn) error {
		if hook != nil {
			if err := hook(network, address, rc); err != nil {
				return err
			}
		}
		return setUnconnected(rc, c)
	}
	return nlc.Listen(ctx, network, address)
}

// checkListener returns an error if the connections that ln accepts are known
// to lack an option that c sets: MPTCP lacks TCP_USER_TIMEOUT, and all TCP
// options before Linux 6.10.
func checkListener(ln net.Listener, c Config) error {
	socket, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	return sockopt.Control(socket, func(fd uintptr) error {
		for i := range options {
			o := &options[i]
			if _, err := o.Get(fd); err != nil && (o.value(c) != 0 || !errors.Is(err, errors.ErrUnsupported)) {
				return err
			}
		}
		return nil
	})
}

// protocol returns SO_PROTOCOL of socket, 0 where that can't be read.
func protocol(socket syscall.Conn) (protocol int) {
	sockopt.Control(socket, func(fd uintptr) error {
		var err error
		protocol, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
		return err
	})
	return protocol
}

func isTCPSocket(socket syscall.Conn) bool {
	p := protocol(socket)
	return p == unix.IPPROTO_TCP || p == unix.IPPROTO_MPTCP
}

func isMPTCPSocket(socket syscall.Conn) bool { return protocol(socket) == unix.IPPROTO_MPTCP }

// setUnconnected sets the options whose field is not zero. The others follow
// the sysctl.
func setUnconnected(rc syscall.RawConn, c Config) error {
	return sockopt.RawControl(rc, func(fd uintptr) error {
		for i := len(options) - 1; i >= 0; i-- {
			o := &options[i]
			if value := o.value(c); value != 0 {
				if err := o.Set(fd, value); err != nil {
					return err
				}
			}
		}
		return setKeepAlive(fd, c)
	})
}

// setConnected sets every option of a connection that was just made. c is
// resolved.
func setConnected(socket syscall.Conn, c Config) error {
	return sockopt.Control(socket, func(fd uintptr) error { return setAll(fd, c, true) })
}

// changeConnected is setConnected for a connection that may be probing.
//
// Setting TCP_KEEPIDLE arms the timer anew. While probes are out it is overdue,
// so that even an equal value would send a probe at once and count it
// (tcp_sock_set_keepidle_locked in net/ipv4/tcp.c).
func changeConnected(socket syscall.Conn, c Config) error {
	return sockopt.Control(socket, func(fd uintptr) error {
		idle, err := sockopt.KeepIdle.Get(fd)
		if err != nil {
			return err
		}
		return setAll(fd, c, int64(idle) != roundUp(c.Idle, time.Second))
	})
}

// setAll goes through the table from its end, since the options that a socket
// may lack come last there: their refusal leaves the socket as it was.
// SO_KEEPALIVE is set last, so that it arms the timer with the new Idle.
func setAll(fd uintptr, c Config, setIdle bool) error {
	for i := len(options) - 1; i >= 0; i-- {
		o := &options[i]
		if o.Option == sockopt.KeepIdle && !setIdle {
			continue
		}
		value := o.value(c)
		err := o.Set(fd, value)
		if err != nil && value == 0 && errors.Is(err, errors.ErrUnsupported) {
			continue // off is the only state that a socket without the option has
		}
		if err != nil {
			return err
		}
	}
	return setKeepAlive(fd, c)
}

func setKeepAlive(fd uintptr, c Config) error {
	if c.Disable {
		return sockopt.KeepAlive.Set(fd, 0)
	}
	return sockopt.KeepAlive.Set(fd, 1)
}

func get(socket syscall.Conn) (Config, error) {
	var c Config
	err := sockopt.Control(socket, func(fd uintptr) error {
		// TCP options come first: other sockets than TCP's have SO_KEEPALIVE.
		for i := range options {
			o := &options[i]
			value, err := o.Get(fd)
			if err != nil && (o.sysctl != "" || !errors.Is(err, errors.ErrUnsupported)) {
				return err
			}
			o.setValue(&c, value)
		}
		on, err := sockopt.KeepAlive.Get(fd)
		c.Disable = on == 0
		return err
	})
	return c, err
}

func systemDefaults() Config {
	var c Config
	c.Idle, c.Interval, c.Count = sysctl.Documented(runtime.GOOS)
	for i := range options {
		if o := &options[i]; o.sysctl != "" {
			if value, err := sysctl.Int(o.sysctl); err == nil {
				o.setValue(&c, value)
			}
		}
	}
	return c
}

// resolve fills in the system's defaults, which have to be set like any other
// value. It returns an error for a default that no socket accepts.
func resolve(c Config) (Config, error) {
	resolved := c.Effective()
	for i := range options {
		o := &options[i]
		if o.get(c) != 0 || o.sysctl == "" || o.accepts(int64(o.value(resolved))) {
			continue
		}
		return Config{}, fmt.Errorf("keepalive: net.ipv4.%s is %d, a socket accepts %d to %d: set Config.%s",
			o.sysctl, o.value(resolved), o.min, o.max, o.field)
	}
	return resolved, nil
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
	status Status
	err    error
	run    func(fd uintptr)
}

var statCalls = sync.Pool{New: func() any {
	call := new(statCall)
	call.run = func(fd uintptr) {
		var info unix.TCPInfo
		call.err = sockopt.TCPInfo(fd, &info)
		call.status = statusOf(&info)
	}
	return call
}}

func (call *statCall) do(rc syscall.RawConn) (Status, error) {
	call.status, call.err = Status{}, sockopt.ErrNotCalled
	if err := rc.Control(call.run); err != nil {
		return Status{}, fmt.Errorf("keepalive: %w", err)
	}
	return call.status, call.err
}

// statusOf returns the zero Status of a closed connection: the rest of its
// TCP_INFO is left over, or wiped, and then MPTCP's times count from boot.
func statusOf(info *unix.TCPInfo) Status {
	if info.State == 0 || info.State == unix.BPF_TCP_CLOSE {
		return Status{}
	}
	return Status{
		Open:          true,
		Probes:        unansweredProbes(info),
		Retransmits:   int(info.Retransmits),
		Unacked:       int(info.Unacked),
		SinceReceived: time.Duration(info.Last_data_recv) * time.Millisecond,
		SinceAck:      time.Duration(info.Last_ack_recv) * time.Millisecond,
		RTT:           time.Duration(info.Rtt) * time.Microsecond,
	}
}

// unansweredProbes returns the probes that the peer owes an answer to. The
// kernel's count may be higher.
//
// Data that acknowledges nothing new does not reset it on the fast path of
// tcp_rcv_established. But the first keepalive probe follows a second of silence
// at the earliest, so within the last second nothing can have gone unanswered.
//
// A peer that stopped reading answers one zero-window probe per half a second
// (tcp_invalid_ratelimit), and they are sent after 1, 3, 7 ... times the
// retransmission timeout. So the second one goes unanswered if that is below
// 250 ms, and the third one is due 1.5 s after the first answer at the latest.
// The timer wheel may add an eighth. Only these probes back off.
func unansweredProbes(info *unix.TCPInfo) int {
	quiet := time.Second
	if info.Backoff > 0 {
		quiet = 2 * time.Second
	}
	if time.Duration(min(info.Last_data_recv, info.Last_ack_recv))*time.Millisecond < quiet {
		return 0
	}
	return int(info.Probes)
}
