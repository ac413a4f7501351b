package keepalive

import (
	"math"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// DetectionTime returns how long a silent peer of an idle connection goes
// unnoticed, counted from the last segment that arrived from it. It returns
// false if the peer goes unnoticed forever: with Disable, and with a negative
// Idle or Interval, which a sysctl may hold.
//
// DetectionTime uses the [Config.Effective] policy. Without a UserTimeout the
// result is Idle + Count × Interval. With a UserTimeout it is the first Idle +
// k × Interval, k ≥ 1, that is at or after UserTimeout.
//
// The kernel's timers may be up to 1/8 late (docs/kernel.md#timer-slack). With
// a UserTimeout the end may come up to an Interval sooner. See
// docs/kernel.md#keepalive-timer for this and other exceptions.
//
// The kernel does not probe while data is in flight: see [Config.UnackedTime].
// An MPTCP connection outlives its last subflow by net.mptcp.close_timeout.
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

// UnackedTime returns how long a peer that dies with data in flight goes
// unnoticed, counted from the first retransmission. That comes 0.2 s after the
// data was sent, or later on a path with a long round trip.
//
// The result is UserTimeout if that is set. Otherwise it is the kernel's model
// of tcp_retries2 retransmissions, the first 0.2 s apart, each distance twice
// the one before and MaxRTO at most. A zero MaxRTO is tcp_rto_max_ms. The
// defaults of Linux give 15m24.6s.
//
// The kernel looks only when it retransmits, so it gives up later by up to one
// distance, which a long round trip makes longer than in the model. See
// docs/kernel.md#retransmission-model and docs/kernel.md#retracted-window.
//
// UnackedTime returns false for a UserTimeout or MaxRTO that no socket accepts,
// and without a UserTimeout on other systems than Linux and where tcp_retries2
// cannot be read, in the calling thread's network namespace.
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
	return policy.ModelTimeout(retries, maxRTO), true
}

func wholeMilliseconds(d time.Duration) time.Duration {
	return time.Duration(policy.RoundUp(d, time.Millisecond)) * time.Millisecond
}
