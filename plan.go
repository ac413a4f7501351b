package keepalive

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// DetectionTime returns how long a silent peer goes unnoticed on an idle
// connection, counted from the last segment that arrived from it. It returns
// false where the peer goes unnoticed forever: with Disable, and with a
// negative Idle or Interval, which stops the kernel's timer. No socket accepts
// these, nor values above the range of [Config.Validate], but a sysctl can hold
// them.
//
// It computes from the Effective c what Linux does (tcp_keepalive_timer in
// net/ipv4/tcp_timer.c). The kernel probes at Idle + k×Interval, k = 0, 1, …,
// in whole seconds. Without a UserTimeout it gives the peer up when Count
// probes are unanswered, at Idle + Count×Interval. With a UserTimeout it gives
// the peer up in place of the first probe, k ≥ 1, that is due at or after
// UserTimeout.
//
// The kernel's timers are never early, but up to 1/8 late (calc_index in
// kernel/time/timer.c), and so is the end of the connection. There are three
// exceptions. With a UserTimeout, a probe that was due before it and is late
// can end the connection up to an Interval sooner, though not before
// UserTimeout. Where Interval is longer than Idle, a peer that falls silent
// after it answered a probe is probed after Interval, not Idle. And on a
// connection that only receives, a probe that was lost earlier may still count
// as unanswered: with a UserTimeout up to Idle, or a Count of 1, a live peer
// may then be given up without being asked.
//
// While data is in flight the kernel does not probe: see [Config.UnackedTime].
//
// An MPTCP connection outlives its last subflow by net.mptcp.close_timeout, 60
// s by default.
func (c Config) DetectionTime() (d time.Duration, ok bool) {
	c = c.Effective()
	idle, interval, limit := wholeSeconds(c.Idle), wholeSeconds(c.Interval), wholeSeconds(c.UserTimeout)
	k := int64(max(c.Count, 0))
	if limit > 0 {
		k = 1
		if left := limit - idle; left > 0 && interval > 0 {
			k = (left + interval - 1) / interval
		}
	}
	if c.Disable || c.Idle < 0 || c.Interval < 0 && k > 0 {
		return 0, false
	}
	const most = math.MaxInt64 / int64(time.Second)
	if interval > 0 && k > (most-idle)/interval {
		return math.MaxInt64, true
	}
	return time.Duration(max(idle+interval*k, limit)) * time.Second, true
}

func wholeSeconds(d time.Duration) int64 { return roundUp(d, time.Second) }

// UnackedTime returns how long data in flight to a dead peer goes unnoticed,
// counted from its first retransmission, which comes 0.2 s after the data was
// sent, or later on a path with a long round trip.
//
// It is UserTimeout where that is set. Otherwise it is the time that the kernel
// allows for tcp_retries2 retransmissions (tcp_model_timeout in
// net/ipv4/tcp_timer.c). They are 0.2 s, 0.4 s, 0.8 s and so on apart, whatever
// tcp_rto_min_us is, and MaxRTO at most. A zero MaxRTO is tcp_rto_max_ms. With
// the defaults of Linux this is 15m24.6s.
//
// The kernel looks at it only when it retransmits. So it gives up no sooner,
// and later by up to one of these distances, which is MaxRTO at most, and by
// the 1/8 that its timers may be late. With a UserTimeout the last
// retransmission timeout is cut short to end in time.
//
// There is one exception. A peer that retracts its window to zero while data is
// in flight, as Linux may with tcp_shrink_window, and then falls silent, is
// given up at the first retransmission after 2 × MaxRTO, if that is sooner. It
// counts from the last segment that arrived (tcp_rtx_probe0_timed_out in
// net/ipv4/tcp_timer.c). With the defaults this is four minutes.
//
// UnackedTime returns false for a UserTimeout or MaxRTO that no socket accepts.
// Without a UserTimeout it also returns false on systems other than Linux and
// where tcp_retries2 can't be read. Both sysctls are those of the network
// namespace of the calling thread.
func (c Config) UnackedTime() (d time.Duration, ok bool) {
	for i := range options {
		if o := &options[i]; o.zero != systemDefault && o.validate(c) != nil {
			return 0, false
		}
	}
	if c.UserTimeout != 0 {
		return wholeMilliseconds(c.UserTimeout), true
	}
	retries, maxRTO, ok := retransmissions()
	if !ok {
		return 0, false
	}
	if c.MaxRTO != 0 {
		maxRTO = wholeMilliseconds(c.MaxRTO)
	}
	return modelTimeout(retries, maxRTO), true
}

func wholeMilliseconds(d time.Duration) time.Duration {
	return time.Duration(roundUp(d, time.Millisecond)) * time.Millisecond
}

// modelTimeout is tcp_model_timeout with TCP_RTO_MIN for rto_base, as it is
// called for a connection that is established.
func modelTimeout(retries int, maxRTO time.Duration) time.Duration {
	const rtoMin = 200 * time.Millisecond
	maxRTO = min(max(maxRTO, time.Second), 120*time.Second) // all that a socket accepts
	doublings := bits.Len64(uint64(maxRTO/rtoMin)) - 1
	if retries <= doublings {
		return (2<<retries - 1) * rtoMin
	}
	return (2<<doublings-1)*rtoMin + time.Duration(retries-doublings)*maxRTO
}

// Target says what a policy has to achieve. See [Plan].
type Target struct {
	// Detect is the time within which a dead peer has to be noticed,
	// counted from the last segment that arrived from it. It is 4.5 s at
	// least, which is three probes a second apart. Zero demands nothing.
	Detect time.Duration

	// IdleLimit is the shortest time after which a firewall, NAT or load
	// balancer on the path forgets an idle connection. It is more than 2.25
	// s, which is two probes a second apart. Zero means that nothing
	// forgets.
	IdleLimit time.Duration

	// Unacked bounds the time that data in flight to a dead peer goes
	// unnoticed as well. The kernel does not probe then. Plan sets
	// UserTimeout, which also ends a live peer that stops reading: see its
	// documentation.
	//
	// The time counts from the first retransmission, which comes 0.2 s
	// after the data was sent, or later on a path with a long round trip.
	// ICMP errors add to it what they add to a UserTimeout.
	Unacked bool

	// SlowReads, with Unacked, spares a live peer that stops reading: Plan
	// sets MaxRTO instead of UserTimeout, which takes Linux 6.15 and a
	// Detect of 17.325 s at least.
	SlowReads bool
}

// Plan returns a policy that meets t, in whole seconds. It sets Idle, Interval
// and Count, so that the policy depends on no system default of theirs, and
// allows for timers that are 1/8 late:
//
//   - Count is 3, since one lost probe is no dead peer.
//   - 9/8 × DetectionTime is at most Detect, and 9/8 × (Idle + Interval) is
//     less than IdleLimit, so that one lost probe does not lose the path.
//   - Interval is the longest that leaves room for an Idle three times as
//     long, or else 1 s.
//   - Idle is the longest that then fits: idle traffic costs batteries and
//     money.
//   - UserTimeout is zero. With Unacked it is Idle + Count × Interval, so that
//     the kernel still gives an idle peer up when Count probes are out, no
//     sooner and no later.
//   - MaxRTO is zero. With SlowReads it is the longest with which 9/8 ×
//     (UnackedTime + MaxRTO) is at most Detect. Without Detect it is the
//     longest with which UnackedTime + MaxRTO is at most DetectionTime, or else
//     1 s.
//
// MaxRTO counts with 15 retransmissions, the default of tcp_retries2, or with
// the system's tcp_retries2 where that is higher. A lower one only makes the
// kernel give up sooner. It does not lengthen MaxRTO, since the policy may be
// used on another machine, and the sysctl may change.
//
// An error says what can't be met, and the least that can.
func Plan(t Target) (Config, error) {
	if err := t.validate(); err != nil {
		return Config{}, err
	}
	detect, limit := t.room()
	interval := max(1, min(detect/(ratio+probes), limit/(ratio+1), maxSeconds/ratio))
	idle := min(detect-probes*interval, limit-interval, maxSeconds)
	c := Config{
		Idle:     time.Duration(idle) * time.Second,
		Interval: time.Duration(interval) * time.Second,
		Count:    probes,
	}
	switch {
	case t.SlowReads:
		limit := c.Idle + probes*c.Interval
		if t.Detect != 0 {
			limit = inTime(t.Detect)
		}
		c.MaxRTO = longestMaxRTO(limit)
	case t.Unacked:
		c.UserTimeout = c.Idle + probes*c.Interval
	}
	return c, nil
}

// probes is what Plan takes for Count, and ratio for Idle / Interval.
const (
	probes = 3
	ratio  = 3
)

// The least that Plan can meet, with Idle, Interval and MaxRTO at 1 s.
const (
	minDetect    = (1 + probes) * time.Second / 8 * 9
	minIdleLimit = 2 * time.Second / 8 * 9
)

// mostRetransmissions is TCP_RETR2 of include/net/tcp.h, the default of
// tcp_retries2, or the system's if that is higher.
func mostRetransmissions() int {
	system, _, _ := retransmissions()
	return max(15, system)
}

// lastRetransmission is when data to a dead peer is given up at the latest, by
// timers that are not late.
func lastRetransmission(retries int, maxRTO time.Duration) time.Duration {
	return modelTimeout(retries, maxRTO) + maxRTO
}

// longestMaxRTO returns the longest MaxRTO with which data in flight is given
// up within limit, or else 1 s.
func longestMaxRTO(limit time.Duration) time.Duration {
	retries := mostRetransmissions()
	maxRTO := time.Second
	for maxRTO < 120*time.Second && lastRetransmission(retries, maxRTO+time.Second) <= limit {
		maxRTO += time.Second
	}
	return maxRTO
}

func (t Target) validate() error {
	if t.Detect == 0 && t.IdleLimit == 0 {
		return errors.New("keepalive: Target demands nothing, want Detect, IdleLimit or both")
	}
	if t.Detect != 0 && t.Detect < minDetect {
		return fmt.Errorf("keepalive: Detect is %v, want %v or more, or 0 for no demand", t.Detect, minDetect)
	}
	if t.IdleLimit != 0 && t.IdleLimit <= minIdleLimit {
		return fmt.Errorf("keepalive: IdleLimit is %v, want more than %v, or 0 for none", t.IdleLimit, minIdleLimit)
	}
	if t.SlowReads && !t.Unacked {
		return errors.New("keepalive: SlowReads without Unacked, want both or neither")
	}
	if t.SlowReads && t.Detect != 0 {
		least := lastRetransmission(mostRetransmissions(), time.Second)
		if inTime(t.Detect) < least {
			return fmt.Errorf("keepalive: Detect is %v, want %v or more with SlowReads, or 0 for no demand", t.Detect, least/8*9)
		}
	}
	return nil
}

// inTime returns the time that takes at most d where timers are 1/8 late.
func inTime(d time.Duration) time.Duration { return d/9*8 + d%9*8/9 }

// room returns the most seconds for DetectionTime and for Idle + Interval with
// which timers that are 1/8 late meet t.
//
// The timer wheel can exceed 1/8, by 1/504: its levels begin at 63 times the
// granularity of the level before, which is 8 times finer. But Idle and
// Interval can't both be that unlucky at a ratio of 3.
func (t Target) room() (detect, limit int64) {
	const enough = (1 + probes) * maxSeconds * time.Second / 8 * 9 // for any Config
	most := func(demand time.Duration) int64 { return int64(min(cmp.Or(demand, enough), enough)) }
	return 8 * most(t.Detect) / int64(9*time.Second), (8*most(t.IdleLimit) - 1) / int64(9*time.Second)
}
