package sockets

import (
	"debug/buildinfo"
	"fmt"
	"net/netip"
	"slices"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Socket is a TCP socket of another process, as it is now.
type Socket struct {
	Index         int      // in Found
	Holders       []Holder // the process with the lowest id first
	Local, Remote netip.AddrPort
	State         State
	MPTCP         bool
	NetNS         uint64 // inode of the network namespace, 0 where that can't be read
	Cookie        uint64 // the number that the kernel gives a socket, and no other one
	Group         uint64 // the inode of its control group, 0 where that is unknown

	Config keepalive.Config
	Status keepalive.Status // zero unless the state is synchronized

	// Idle and InFlight are how long a dead peer goes unnoticed. For a
	// listening socket they are those of connections that inherit its policy.
	Idle, InFlight Unnoticed

	Timer Timer

	fd        int
	device    uint32 // that it is bound to, an index, 0 for none
	namespace *namespace
}

// Clone returns a copy.
func (s *Socket) Clone() *Socket {
	c := *s
	c.Holders = slices.Clone(s.Holders)
	return &c
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
	closeWait   State = 8
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

// Get reads what the kernel holds now into Config, Status, Timer and what follows
// from them.
func (s *Socket) Get() error {
	if err := s.get(); err != nil {
		return err
	}
	s.setTimer(s.readTimer())
	return nil
}

// get leaves the timer out.
func (s *Socket) get() error {
	c, err := policy.Get(uintptr(s.fd))
	if err != nil {
		return err
	}
	s.Config, s.Status = keepalive.Config(c), keepalive.Status{}
	if s.State.Synchronized() {
		status, err := policy.Stat(uintptr(s.fd))
		if err != nil {
			return err
		}
		s.Status = keepalive.Status(status)
	}
	s.Idle, s.InFlight = s.unnoticedIdle(), s.unnoticedInFlight(s.namespace.unnoticedInFlight)
	return nil
}

// Check returns an error where c has a value that no socket accepts. Where the
// socket holds that value already, as one that follows a sysctl may, it is none:
// Apply leaves it alone.
func (s *Socket) Check(c keepalive.Config) error {
	want, held := policy.Config(c), policy.Config(s.Config)
	for i := range policy.Options {
		o := &policy.Options[i]
		switch {
		case o.Of(want) == o.Of(held):
		case o.Of(want) == 0 && o.Zero == policy.SystemDefault:
			return fmt.Errorf("net.ipv4.%s is 0, which no socket accepts", o.Sysctl)
		default:
			if err := o.Validate(want); err != nil {
				return err
			}
		}
	}
	return nil
}

// Apply sets a policy that Check has passed, as [keepalive.Config.Apply] does.
// That writes every option, so that the timer that is armed is the policy's.
// Where one of them can't be written, those that change are written alone.
func (s *Socket) Apply(c keepalive.Config) error {
	want := policy.Config(c)
	if want.IsComplete() {
		return policy.Change(uintptr(s.fd), want)
	}
	return policy.SetDifference(uintptr(s.fd), policy.Config(s.Config), want)
}

// Defaults returns the policy of a new socket in the socket's namespace, with
// keepalive on.
func (s *Socket) Defaults() (c policy.Config, err error) {
	err = s.namespace.do(func() error {
		c, err = policy.OfNewSocket()
		return err
	})
	return c, err
}

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
