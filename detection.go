package keepalive

import (
	"math"
	"math/bits"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
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

func wholeSeconds(d time.Duration) int64 { return policy.RoundUp(d, time.Second) }

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
	for i := range policy.Options {
		if o := &policy.Options[i]; o.Zero != policy.SystemDefault && o.Validate(policy.Config(c)) != nil {
			return 0, false
		}
	}
	if c.UserTimeout != 0 {
		return wholeMilliseconds(c.UserTimeout), true
	}
	retries, maxRTO, ok := policy.Retransmissions()
	if !ok {
		return 0, false
	}
	if c.MaxRTO != 0 {
		maxRTO = wholeMilliseconds(c.MaxRTO)
	}
	return modelTimeout(retries, maxRTO), true
}

func wholeMilliseconds(d time.Duration) time.Duration {
	return time.Duration(policy.RoundUp(d, time.Millisecond)) * time.Millisecond
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
