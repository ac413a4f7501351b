package sockets

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Timer is the timer of a socket that is armed. The kernel does not look at a
// policy before that fires. The zero Timer is unknown. A Multipath TCP socket has
// that one.
type Timer struct {
	Kind TimerKind
	Left time.Duration // until it fires, 0 for NoTimer
}

// IsArmed reports whether a timer is known to run.
func (t Timer) IsArmed() bool { return t.Kind != UnknownTimer && t.Kind != NoTimer }

// A TimerKind is what happens when a timer fires.
type TimerKind uint8

const (
	UnknownTimer TimerKind = iota
	NoTimer
	Retransmission
	KeepAlive  // a keepalive probe
	ZeroWindow // a probe of a peer that has stopped reading
)

var timerNames = [...]string{"unknown", "none", "retransmission", "keepalive", "zero-window"}

func (k TimerKind) String() string { return timerNames[k] }

// timer returns what idiag_timer and idiag_expires say.
func (c diagSocket) timer() Timer {
	kind := NoTimer
	switch c[2] {
	case 1:
		kind = Retransmission
	case 2:
		kind = KeepAlive
	case 4:
		kind = ZeroWindow
	default:
		return Timer{Kind: NoTimer}
	}
	left := int32(binary.NativeEndian.Uint32(c[52:])) // below zero if it fires now
	return Timer{kind, time.Duration(max(left, 0)) * time.Millisecond}
}

// An armedTimer is the Timer of a socket, in little space.
type armedTimer struct {
	inode uint32
	left  uint32 // in milliseconds
	kind  TimerKind
}

// armedTimers are the timers of many sockets, ordered by inode.
type armedTimers []armedTimer

func (a *armedTimers) add(c diagSocket) {
	t := c.timer()
	*a = append(*a, armedTimer{c.inode(), uint32(t.Left.Milliseconds()), t.Kind})
}

func (a armedTimers) sort() {
	slices.SortFunc(a, func(a, b armedTimer) int { return cmp.Compare(a.inode, b.inode) })
}

// of returns the timer of a socket, the zero Timer where it has none.
func (a armedTimers) of(inode uint32) Timer {
	i, ok := slices.BinarySearchFunc(a, inode, func(t armedTimer, inode uint32) int { return cmp.Compare(t.inode, inode) })
	if !ok {
		return Timer{}
	}
	return Timer{a[i].kind, time.Duration(a[i].left) * time.Millisecond}
}

// setTimer notes the timer, and where it fires later than the policy says.
func (s *Socket) setTimer(t Timer) {
	s.Timer = t
	switch t.Kind {
	case KeepAlive:
		s.Idle.Armed = laterThan(s.Idle, t.Left)
	case Retransmission, ZeroWindow:
		s.InFlight.Armed = laterThan(s.InFlight, t.Left)
	}
}

func laterThan(u Unnoticed, left time.Duration) time.Duration {
	if u.NoPeer || u.Never || !u.Known || left <= u.For {
		return 0
	}
	return left
}

// readTimer asks for the timer of an open socket, and for its group.
func (s *Socket) readTimer() Timer {
	if s.State == Listen || s.State == closed {
		return Timer{Kind: NoTimer}
	}
	if s.MPTCP || !s.Remote.IsValid() {
		return Timer{}
	}
	var t Timer
	s.namespace.do(func() error {
		return lookUp(s.diagID(), func(c diagSocket) {
			if c.cookie() == s.Cookie {
				t, s.Group = c.timer(), c.group()
			}
		})
	})
	return t
}

// A diagID is what sock_diag finds a socket by: a struct inet_diag_req_v2 behind
// the header of netlink.
type diagID struct {
	header           unix.NlMsghdr
	family, protocol uint8
	_                [2]uint8
	states           uint32
	ports            [2][2]byte
	addresses        [2][16]byte
	device           uint32
	cookie           [2]uint32
}

// diagID returns how to find a connection.
func (s *Socket) diagID() *diagID {
	id := &diagID{family: unix.AF_INET, protocol: unix.IPPROTO_TCP, states: ^uint32(0), device: s.device, cookie: [2]uint32{uint32(s.Cookie), uint32(s.Cookie >> 32)}}
	if s.Local.Addr().Is6() {
		id.family = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(id.ports[0][:], s.Local.Port())
	binary.BigEndian.PutUint16(id.ports[1][:], s.Remote.Port())
	copy(id.addresses[0][:], s.Local.Addr().AsSlice())
	copy(id.addresses[1][:], s.Remote.Addr().AsSlice())
	return id
}

// lookUp visits one socket, which is of the network namespace of the calling
// thread.
func lookUp(id *diagID, visit func(diagSocket)) error {
	id.header = unix.NlMsghdr{Len: uint32(unsafe.Sizeof(*id)), Type: diagByFamily, Flags: unix.NLM_F_REQUEST}
	return send(unsafe.Slice((*byte)(unsafe.Pointer(id)), unsafe.Sizeof(*id)), func(messages []byte) (more bool, err error) {
		_, err = visitMessages(messages, visit)
		return false, err
	})
}
