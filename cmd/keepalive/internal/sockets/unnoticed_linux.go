package sockets

import (
	"cmp"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// Unnoticed is how long a dead peer goes unnoticed.
type Unnoticed struct {
	For    time.Duration
	Never  bool // it is noticed
	Known  bool // where not, it depends on sysctls that the caller can't read
	NoPeer bool // that could die: there is no connection yet

	// Armed is the time that is left of the timer that is armed, where that is
	// longer than For: the kernel does not look before. It is zero elsewhere.
	Armed time.Duration
}

// Exceeds reports whether it is longer than limit, or not known to be shorter.
func (u Unnoticed) Exceeds(limit time.Duration) bool {
	return !u.NoPeer && (!u.Known || u.Never || max(u.For, u.Armed) > limit)
}

// hasPeer reports whether there is a connection, or may be one that inherits the
// policy.
func (s *Socket) hasPeer() bool { return s.State.Synchronized() || s.State == Listen }

// unnoticedIdle returns how long that is on an idle connection.
func (s *Socket) unnoticedIdle() Unnoticed {
	if !s.hasPeer() {
		return Unnoticed{NoPeer: true}
	}
	d, ok := s.Config.DetectionTime()
	return Unnoticed{For: d, Never: !ok, Known: true}
}

// unnoticedInFlight returns how long that is for data in flight. OfSysctls returns
// it for a socket with a MaxRTO and without a UserTimeout.
func (s *Socket) unnoticedInFlight(ofSysctls func(maxRTO time.Duration) Unnoticed) Unnoticed {
	if !s.hasPeer() {
		return Unnoticed{NoPeer: true}
	}
	if s.Config.UserTimeout != 0 {
		d, _ := s.Config.UnackedTime()
		return Unnoticed{For: d, Known: true}
	}
	return ofSysctls(cmp.Or(s.Config.MaxRTO, defaultMaxRTO))
}

// defaultMaxRTO is what a socket has for which [keepalive.Get] returns zero:
// TCP_RTO_MAX_SEC of include/net/tcp.h.
const defaultMaxRTO = 120 * time.Second

// unnoticedInFlight returns how long that is without a UserTimeout. Nearly all
// sockets of a namespace have the same MaxRTO, and it takes several calls to find
// out, so each answer is kept.
func (n *namespace) unnoticedInFlight(maxRTO time.Duration) Unnoticed {
	n.mu.Lock()
	defer n.mu.Unlock()
	u, ok := n.inFlight[maxRTO]
	if ok {
		return u
	}
	err := n.do(func() error {
		u.For, u.Known = keepalive.Config{MaxRTO: maxRTO}.UnackedTime()
		return nil
	})
	u.Known = u.Known && err == nil
	if n.inFlight == nil {
		n.inFlight = make(map[time.Duration]Unnoticed)
	}
	n.inFlight[maxRTO] = u
	return u
}
