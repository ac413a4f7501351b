package sockets

import (
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
)

// Socket is a TCP socket of another process, as it is now.
type Socket struct {
	Index         int      // in Found
	Holders       []Holder // who shares it, the process with the lowest id first
	Local, Remote netip.AddrPort
	State         State
	MPTCP         bool
	NetNS         uint64 // inode of the network namespace, 0 where that can't be read

	Config keepalive.Config
	Status keepalive.Status // zero unless the state is synchronized

	// Idle and InFlight are how long a dead peer goes unnoticed. For a
	// listening socket they are those of connections that inherit its policy.
	Idle, InFlight Unnoticed

	fd        int
	namespace *namespace
}

// Holder is a descriptor of a socket.
type Holder struct {
	Process
	FD int
}

// A State is that of RFC 9293, section 3.3.2.
type State uint8

// States have the numbers of enum tcp_state in net/tcp_states.h.
const (
	Established State = 1
	synSent     State = 2
	synReceived State = 3
	closed      State = 7
	Listen      State = 10
	newSynRecv  State = 12 // a synReceived that no descriptor is of yet
)

// Synchronized reports whether both ends have seen the handshake, so that there
// is a peer that can be heard or lost. RFC 9293 calls such states synchronized.
func (s State) Synchronized() bool {
	switch s {
	case synSent, synReceived, closed, Listen, newSynRecv:
		return false
	}
	return true
}

var stateNames = [...]string{
	1: "established", "syn-sent", "syn-received", "fin-wait-1", "fin-wait-2", "time-wait", "closed",
	"close-wait", "last-ack", "listen", "closing", "syn-received",
}

func (s State) String() string {
	if int(s) >= len(stateNames) || stateNames[s] == "" {
		return "unknown"
	}
	return stateNames[s]
}

// Get reads what the kernel holds now into Config, Status and what follows from
// them.
func (s *Socket) Get() error {
	c := conn{raw: rawConn(s.fd)}
	var err error
	if s.Config, err = keepalive.Get(c); err != nil {
		return err
	}
	s.Status = keepalive.Status{}
	if s.State.Synchronized() {
		if s.Status, err = keepalive.Stat(c); err != nil {
			return err
		}
	}
	s.Idle, s.InFlight = s.unnoticedIdle(), s.unnoticedInFlight()
	return nil
}

// DefaultMaxRTO is what a socket holds whose MaxRTO [keepalive.Get] returns as
// zero, or does without having the option: TCP_RTO_MAX_SEC of include/net/tcp.h.
const DefaultMaxRTO = 120 * time.Second

// MaxRTO returns the longest time between two retransmissions.
func (s *Socket) MaxRTO() time.Duration { return cmp.Or(s.Config.MaxRTO, DefaultMaxRTO) }

// Check returns an error where c has a value that no socket accepts. Where the
// socket holds that value already, as one that follows a sysctl may, it is none:
// Apply leaves it alone.
func (s *Socket) Check(c keepalive.Config) error {
	if c.Idle == 0 && s.Config.Idle != 0 || c.Interval == 0 && s.Config.Interval != 0 || c.Count == 0 && s.Config.Count != 0 {
		return errors.New("a sysctl of net.ipv4.tcp_keepalive_* is 0, which no socket accepts")
	}
	return s.changes(c).Validate()
}

// changes returns c without what the socket holds already.
func (s *Socket) changes(c keepalive.Config) keepalive.Config {
	for _, d := range []struct{ new, old *time.Duration }{
		{&c.Idle, &s.Config.Idle}, {&c.Interval, &s.Config.Interval}, {&c.UserTimeout, &s.Config.UserTimeout}, {&c.MaxRTO, &s.Config.MaxRTO},
	} {
		if *d.new == *d.old {
			*d.new = 0
		}
	}
	if c.Count == s.Config.Count {
		c.Count = 0
	}
	return c
}

// Apply sets a policy that Check has passed, as [keepalive.Config.Apply] does.
// That writes every option, so that the timer that is armed is the policy's.
// Where one of them can't be written, those that change are written alone.
func (s *Socket) Apply(c keepalive.Config) error {
	if c.Idle != 0 && c.Interval != 0 && c.Count != 0 && c.Validate() == nil {
		return c.Apply(conn{raw: rawConn(s.fd)})
	}
	if c.UserTimeout == 0 && s.Config.UserTimeout != 0 {
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0); err != nil {
			return os.NewSyscallError("setsockopt TCP_USER_TIMEOUT", err)
		}
	}
	return s.changes(c).Control("tcp", "", rawConn(s.fd))
}

// Defaults returns the policy of a new socket in the socket's namespace, with
// keepalive on.
func (s *Socket) Defaults() (c keepalive.Config, err error) {
	err = s.namespace.do(func() error {
		c, err = ofNewSocket()
		return err
	})
	c.Disable = false
	return c, err
}

func ofNewSocket() (keepalive.Config, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return keepalive.Config{}, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return keepalive.Get(conn{raw: rawConn(fd)})
}

// conn is a connection for the library, which calls no method but SyscallConn.
type conn struct {
	net.Conn
	raw rawConn
}

func (c conn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// rawConn is a descriptor.
type rawConn int

func (fd rawConn) Control(f func(fd uintptr)) error {
	f(uintptr(fd))
	return nil
}

func (fd rawConn) Read(func(fd uintptr) bool) error  { return errors.ErrUnsupported }
func (fd rawConn) Write(func(fd uintptr) bool) error { return errors.ErrUnsupported }

// GoVersion returns the version of Go that built a program that holds the
// socket, and false where none is a Go program that can be read. Of the programs
// that share a listening socket, such as systemd's, the first may only pass it on.
func (s *Socket) GoVersion() (version string, ok bool) {
	asked := 0
	for _, h := range s.Holders {
		if h.PID == asked {
			continue
		}
		asked = h.PID
		if info, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", h.PID)); err == nil {
			return printable(info.GoVersion), true
		}
	}
	return "", false
}
