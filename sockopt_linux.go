//go:build !keepalive_portable

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
	"golang.org/x/sys/unix"
)

// dial sets c after the hook of nd and before the socket connects, all but
// SO_KEEPALIVE, which net sets once it has connected. That arms the timer after a
// simultaneous open too, which skips where a connect does so itself
// (tcp_finish_connect in net/ipv4/tcp_input.c). On a socket that has
// SO_KEEPALIVE already, as a hook may have set it, it would arm nothing.
//
// ControlContext takes precedence over Control, as in net.
func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	hookContext, hook := nd.ControlContext, nd.Control
	turnOff := c.Disable || hookContext != nil || hook != nil
	nd.KeepAliveConfig = net.KeepAliveConfig{Enable: !c.Disable, Idle: -1, Interval: -1, Count: -1} // sets no timing
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
		return sockopt.RawControl(rc, func(fd uintptr) error {
			if err := setNonzero(fd, c); err != nil || !turnOff {
				return err
			}
			return sockopt.KeepAlive.Set(fd, 0)
		})
	}
	return nd.DialContext(ctx, network, address)
}

// listen sets c after the hook of nlc and before the socket listens. Where
// accepted sockets do not inherit it, a Listener sets it on each.
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
	ln, err := nlc.Listen(ctx, network, address)
	if err != nil || sockopt.AcceptInherits() {
		return ln, err
	}
	l, err := NewListener(ln, c)
	if err != nil {
		ln.Close()
		return nil, err
	}
	return l, nil
}

// checkListener returns an error if the connections that ln accepts are known
// to lack an option that c sets: MPTCP lacks TCP_USER_TIMEOUT and
// TCP_RTO_MAX_MS, and before Linux 6.10 all TCP options, but for stable
// releases that have them.
func checkListener(ln net.Listener, c Config) error {
	socket, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	return sockopt.Control(socket, func(fd uintptr) error {
		for i := range options {
			o := &options[i]
			_, err := o.Get(fd)
			if err == nil || o.value(c) == 0 && o.zero != systemDefault {
				continue
			}
			if protocol(fd) == unix.IPPROTO_MPTCP {
				return fmt.Errorf("%w: the listener uses MPTCP, want one of keepalive.ListenConfig, "+
					"or of a net.ListenConfig with SetMultipathTCP(false)", err)
			}
			return explain(fd, err)
		}
		return nil
	})
}

// value returns what c sets the option to, 0 where it leaves it out.
func (o *option) value(c Config) int {
	return int(roundUp(time.Duration(o.get(c)), o.unit))
}

// protocol returns SO_PROTOCOL, 0 where that can't be read.
func protocol(fd uintptr) int {
	p, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return p
}

// explain adds to the error of an option that fd lacks why that is.
func explain(fd uintptr, err error) error {
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	switch protocol(fd) {
	case 0:
		return err
	case unix.IPPROTO_MPTCP:
		return fmt.Errorf("%w: the socket uses MPTCP, want plain TCP", err)
	case unix.IPPROTO_TCP:
		if refused, ok := errors.AsType[*sockopt.Error](err); ok && refused.Option == sockopt.MaxRTO.Name {
			return fmt.Errorf("%w: Linux before 6.15 lacks it", err)
		}
		return err
	default:
		return fmt.Errorf("%w: not a TCP socket", err)
	}
}

func isTCPSocket(socket syscall.Conn) bool {
	p := protocolOf(socket)
	return p == unix.IPPROTO_TCP || p == unix.IPPROTO_MPTCP
}

func isMPTCPSocket(socket syscall.Conn) bool { return protocolOf(socket) == unix.IPPROTO_MPTCP }

func protocolOf(socket syscall.Conn) (p int) {
	sockopt.Control(socket, func(fd uintptr) error {
		p = protocol(fd)
		return nil
	})
	return p
}

// setUnconnected sets c on a socket that is neither connected nor listening.
func setUnconnected(rc syscall.RawConn, c Config) error {
	return sockopt.RawControl(rc, func(fd uintptr) error {
		if err := setNonzero(fd, c); err != nil {
			return err
		}
		return setKeepAlive(fd, c)
	})
}

// setNonzero sets the options whose field is not zero. The others follow the
// sysctl.
func setNonzero(fd uintptr, c Config) error {
	for i := len(options) - 1; i >= 0; i-- {
		o := &options[i]
		if value := o.value(c); value != 0 {
			if err := o.Set(fd, value); err != nil {
				return explain(fd, err)
			}
		}
	}
	return nil
}

// setConnected sets the options of a connection that was just made. c is
// resolved.
func setConnected(socket syscall.Conn, c Config) error {
	return sockopt.Control(socket, func(fd uintptr) error { return setAll(fd, c, true) })
}

// changeConnected is setConnected for a connection that may be probing.
func changeConnected(socket syscall.Conn, c Config) error {
	return sockopt.Control(socket, func(fd uintptr) error {
		rearm, err := mustRearm(fd, c)
		if err != nil {
			return err
		}
		return setAll(fd, c, rearm)
	})
}

// setAll goes through the table from its end, since the options that a socket
// may lack come last there: their refusal leaves the socket as it was.
//
// Idle comes last, after SO_KEEPALIVE: setting it while keepalive is on arms
// the timer with the new policy. Nothing else does on a connection that had
// keepalive on before (tcp_sock_set_keepidle_locked and tcp_set_keepalive in
// net/ipv4).
func setAll(fd uintptr, c Config, setIdle bool) error {
	for i := len(options) - 1; i >= 0; i-- {
		o := &options[i]
		if o.Option == sockopt.KeepIdle {
			if err := setKeepAlive(fd, c); err != nil || !setIdle {
				return err
			}
		}
		if err := o.setResolved(fd, o.value(c)); err != nil {
			return explain(fd, err)
		}
	}
	return nil
}

// setResolved sets the option to a value that is zero only where that means off
// or no change.
func (o *option) setResolved(fd uintptr, value int) error {
	if value == 0 && o.zero != off {
		return nil
	}
	err := o.Set(fd, value)
	if value == 0 && errors.Is(err, errors.ErrUnsupported) {
		return nil // off is the only state that a socket without the option has
	}
	return err
}

// mustRearm reports whether Idle must be set to arm the timer with c.
//
// Setting it always would be right but for its effect on a connection that has
// been silent for Idle: the timer fires at once and sends a probe. So it is
// left out where the timer is armed with c already, so that applying the same
// policy again and again sends none. Where Interval is longer than Idle, it
// would also replace the wait of an Interval after an answered probe by one of
// Idle.
func mustRearm(fd uintptr, c Config) (bool, error) {
	var info unix.TCPInfo
	known := sockopt.TCPInfo(fd, &info) == nil // not under qemu-user
	if c.Disable || known && c.Interval <= c.Idle && sinceHeard(&info) < c.Idle {
		return true, nil // at most the wait of Idle begins anew where it began before
	}
	changed, err := changesTimer(fd, c)
	return changed || known && isOverdue(&info, c), err
}

// changesTimer reports whether the socket holds another policy than c, as far
// as it counts for the timer.
func changesTimer(fd uintptr, c Config) (bool, error) {
	on, err := sockopt.KeepAlive.Get(fd)
	if err != nil || on == 0 {
		return true, err
	}
	idle, err := sockopt.KeepIdle.Get(fd)
	if err != nil || time.Duration(idle)*time.Second != c.Idle {
		return true, err
	}
	interval, err := sockopt.KeepIntvl.Get(fd)
	return time.Duration(interval)*time.Second != c.Interval, err
}

// isOverdue reports whether a probe would have been sent by now if the timer
// were armed with c. It was armed with something longer then: a policy whose
// timer has not fired since, or a sysctl that was lowered since.
//
// A timer may be 1/8 late. After an answered probe it is armed with Interval.
//
// The kernel counts probes in 8 bits (icsk_probes_out), which can wrap with a
// UserTimeout. Once they may have, nothing is known.
func isOverdue(info *unix.TCPInfo, c Config) bool {
	silent := sinceHeard(info)
	if c.UserTimeout != 0 && silent >= c.Idle+math.MaxUint8*c.Interval {
		return false
	}
	due := c.Idle + time.Duration(info.Probes)*c.Interval
	if info.Probes == 0 {
		if c.Interval <= c.Idle {
			return true // a probe is due, however late the timer is
		}
		due = c.Interval
	}
	return silent > due*9/8+tolerance
}

// tolerance covers the tick of the kernel's clock and the time until a timer
// that has fired has run.
const tolerance = 100 * time.Millisecond

// sinceHeard is keepalive_time_elapsed of include/net/tcp.h.
func sinceHeard(info *unix.TCPInfo) time.Duration {
	return time.Duration(min(info.Last_data_recv, info.Last_ack_recv)) * time.Millisecond
}

func setKeepAlive(fd uintptr, c Config) error {
	if c.Disable {
		return sockopt.KeepAlive.Set(fd, 0)
	}
	return sockopt.KeepAlive.Set(fd, 1)
}

func get(socket syscall.Conn) (Config, error) {
	var c Config
	err := sockopt.Control(socket, func(fd uintptr) (err error) {
		c, err = readOptions(fd)
		return explain(fd, err)
	})
	return c, err
}

func systemDefaults() Config {
	var c Config
	c.Idle, c.Interval, c.Count = sysctl.Documented("linux")
	for i := range options {
		if o := &options[i]; o.zero == systemDefault {
			if value, err := o.systemDefault(); err == nil {
				c = o.withValue(c, value)
			}
		}
	}
	return c
}

// systemDefault reads the sysctl. A container may hide it or show another
// value than counts: gVisor has zeros there. A socket that nobody has set knows
// the value.
func (o *option) systemDefault() (int, error) {
	value, err := sysctl.Int(o.sysctl)
	if err == nil && o.accepts(int64(value)) {
		return value, nil
	}
	asked, refused := o.ofNewSocket()
	if refused == nil {
		return asked, nil
	}
	return value, err
}

// ofNewSocket returns the value of a socket that nobody has set.
func (o *option) ofNewSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return o.Get(uintptr(fd))
}

// resolve fills in the system's defaults, which have to be set like any other
// value, and rounds up. A default that no socket accepts is an error. With
// Disable it does not matter, and stays zero: setResolved leaves it out.
func resolve(c Config) (Config, error) {
	resolved := c.Effective()
	for i := range options {
		o := &options[i]
		value := o.value(resolved)
		if o.zero == systemDefault && o.get(c) == 0 && !o.accepts(int64(value)) {
			if !c.Disable {
				return Config{}, fmt.Errorf("keepalive: net.ipv4.%s is %d, a socket accepts %d to %d: set Config.%s",
					o.sysctl, value, o.min, o.max, o.field)
			}
			value = 0
		}
		resolved = o.withValue(resolved, value)
	}
	return resolved, nil
}

// retransmissions returns tcp_retries2, and tcp_rto_max_ms, which is fixed
// before Linux 6.15. A new socket knows the latter too.
func retransmissions() (retries int, maxRTO time.Duration, ok bool) {
	retries, err := sysctl.Int("tcp_retries2")
	if err != nil || retries < 0 {
		return 0, 0, false
	}
	o := &option{Option: sockopt.MaxRTO}
	if ms, err := o.ofNewSocket(); err == nil {
		return retries, time.Duration(ms) * time.Millisecond, true
	}
	return retries, 120 * time.Second, true // TCP_RTO_MAX_SEC
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
		call.err = explain(fd, sockopt.TCPInfo(fd, &info))
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
// tcp_rcv_established. But the first keepalive probe follows a second of
// silence at the earliest, so within the last second nothing can have gone
// unanswered.
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
