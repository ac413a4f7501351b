package sockets

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A record is what a [bpfIterator] writes of a socket. Times are in jiffies. A
// record without an address family is of a Multipath TCP socket, of which only the
// inode is known.
type record struct {
	inode                      uint32 // of the file, 0 if there is none
	netns                      uint32
	family                     uint16
	state, keepAlive           uint8
	cookie                     uint64
	local, remote              [16]byte
	localPort, remotePort      [2]byte
	options                    [len(policy.Options)]uint32 // in the order of that table
	unacked, srtt              uint32                      // srtt is in 1/8 µs
	sinceData, sinceAck        uint32
	device                     uint32 // that it is bound to, an index
	backoff, probes            uint8
	retransmits, retriesSysctl uint8
	group                      uint64 // the id of the control group, 0 where the kernel has none
}

// isComplete reports whether the record has all of a [Socket]. A link-local address
// lacks the name of its interface.
func (r *record) isComplete() bool {
	return r.family != 0 && !r.isLinkLocal(r.local) && !r.isLinkLocal(r.remote)
}

func (r *record) isLinkLocal(addr [16]byte) bool {
	return r.family == unix.AF_INET6 && netip.AddrFrom16(addr).IsLinkLocalUnicast()
}

// fill writes what the record has into a Socket.
func (r *record) fill(s *Socket, hz uint64) {
	s.State = State(r.state)
	s.Cookie, s.device, s.Group = r.cookie, r.device, r.group
	s.NetNS = uint64(r.netns)
	s.Local = r.endpoint(r.local, r.localPort)
	if s.State != closed && r.remotePort != [2]byte{} { // as getpeername(2) has it
		s.Remote = r.endpoint(r.remote, r.remotePort)
	}
	s.Config = r.config(hz)
	if s.State.Synchronized() {
		s.Status = r.status(hz)
	}
	s.Idle = s.unnoticedIdle()
	s.InFlight = s.unnoticedInFlight(func(maxRTO time.Duration) Unnoticed {
		return Unnoticed{For: policy.ModelTimeout(int(r.retriesSysctl), maxRTO), Known: true}
	})
}

func (r *record) endpoint(addr [16]byte, port [2]byte) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte(addr[:4]))
	if r.family == unix.AF_INET6 {
		ip = netip.AddrFrom16(addr).Unmap()
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(port[:]))
}

// config returns the policy, as [policy.Get] does.
func (r *record) config(hz uint64) keepalive.Config {
	var c policy.Config
	for i := range policy.Options {
		o := &policy.Options[i]
		value := int(r.options[i])
		if kernelOptions[o.Key].jiffies {
			value = fromJiffies(o, r.options[i], hz)
		}
		if value != o.Unset {
			c = o.WithValue(c, value)
		}
	}
	c.Disable = r.keepAlive == 0
	return keepalive.Config(c)
}

// fromJiffies returns what getsockopt(2) does. It rounds seconds down, towards zero,
// and a sysctl can be negative; it rounds milliseconds up.
func fromJiffies(o *policy.Option, value uint32, hz uint64) int {
	if o.Unit == time.Second {
		return int(int32(value)) / int(hz)
	}
	return int((uint64(value)*1000 + hz - 1) / hz)
}

// status returns what TCP_INFO would say.
func (r *record) status(hz uint64) keepalive.Status {
	// A clock that another processor has set forward after it was read here.
	milliseconds := func(jiffies uint32) uint32 {
		if jiffies > -uint32(hz) {
			return 0
		}
		return uint32(uint64(jiffies) * 1000 / hz)
	}
	return keepalive.Status(policy.StatusOf(&unix.TCPInfo{
		State:          r.state,
		Retransmits:    r.retransmits,
		Probes:         r.probes,
		Backoff:        r.backoff,
		Unacked:        r.unacked,
		Last_data_recv: milliseconds(r.sinceData),
		Last_ack_recv:  milliseconds(r.sinceAck),
		Rtt:            r.srtt >> 3,
	}))
}

// readHZ returns how many jiffies a second has: the resolution of the coarse clocks
// is one.
func readHZ() (uint64, error) {
	var resolution unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &resolution); err != nil {
		return 0, fmt.Errorf("clock_getres: %w", err)
	}
	ns := uint64(resolution.Nano())
	if ns == 0 || ns > uint64(time.Second) {
		return 0, fmt.Errorf("clock_getres: a tick of %d ns", ns)
	}
	return (uint64(time.Second) + ns/2) / ns, nil
}
