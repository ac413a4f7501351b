package keepalive

import (
	"math"
	"time"
)

// DetectionTime returns how long a peer that has fallen silent goes unnoticed
// on an idle connection, counted from the last segment that arrived from it.
// It is false where that is for ever: with Disable, and with a system's default
// below zero, which stops the kernel's timer.
//
// It goes by the Effective c and counts as Linux does (tcp_keepalive_timer in
// net/ipv4/tcp_timer.c). The kernel probes at Idle + k×Interval, k = 0, 1, …,
// in whole seconds, until it gives the peer up in place of a probe. Without a
// UserTimeout it does so when Count probes are out, at Idle + Count×Interval.
// With one, it does so at the first of these times that is not before
// UserTimeout, after one probe at least.
//
// The kernel's timers are not early, but up to 1/8 late (calc_index in
// kernel/time/timer.c), and so is the end of the connection. Late timers can also
// bring it forward: a probe that was due before UserTimeout and comes after it
// is the end, up to an Interval before d, though not before UserTimeout.
// And where Interval is longer than Idle, a peer that falls silent after it
// answered a probe has Interval instead of Idle until the next one.
//
// While data is in flight the kernel does not probe. What bounds that time is
// UserTimeout, which it then counts from the first retransmission, or else
// tcp_retries2 of tcp(7).
func (c Config) DetectionTime() (d time.Duration, ok bool) {
	c = c.Effective()
	idle, interval, limit := wholeSeconds(c.Idle), wholeSeconds(c.Interval), wholeSeconds(c.UserTimeout)
	probes := int64(max(c.Count, 0))
	if limit > 0 {
		probes = 1
		if left := limit - idle; left > 0 && interval > 0 {
			probes = (left + interval - 1) / interval
		}
	}
	if c.Disable || c.Idle < 0 || c.Interval < 0 && probes > 0 {
		return 0, false
	}
	seconds := max(idle+interval*probes, limit)
	if seconds > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64, true
	}
	return time.Duration(seconds) * time.Second, true
}

func wholeSeconds(d time.Duration) int64 {
	return int64(ceil(d, time.Second))
}
