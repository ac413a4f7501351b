package keepalive

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// DetectionTime returns how long a peer that has fallen silent goes unnoticed
// on an idle connection, counted from the last segment that arrived from it.
// It is false where that is for ever: with Disable, and with an Idle or Interval
// below zero, which stops the kernel's timer. No Config that is set can have one, nor
// one above the range of [Config.Validate]; a system's default can.
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
//
// An MPTCP connection lives on without its subflow, for the 60 s of
// net.mptcp.close_timeout.
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

// Target is what a policy is for, in the words of who needs it. See [Plan].
type Target struct {
	// Detect is within what time a dead peer has to be noticed, counted from
	// the last segment that arrived from it: at least 4.5 s, three probes a
	// second apart. Zero demands nothing.
	Detect time.Duration

	// IdleLimit is the shortest time after which a firewall, NAT or load
	// balancer on the path forgets an idle connection: more than 2.25 s,
	// two probes a second apart. Zero is none.
	IdleLimit time.Duration

	// Unacked bounds the time that a peer is taken for alive with data in
	// flight as well, when the kernel does not probe. It sets UserTimeout,
	// whose documentation says which live peers that ends. The time counts
	// from the first retransmission, which comes 0.2 s after the data was
	// sent, or later on a path with a long round trip. Beyond Detect it takes
	// what ICMP errors add to a UserTimeout.
	Unacked bool
}

// Plan returns a policy that meets t, every field of it set, so that it depends
// on no system's default. It is in whole seconds and allows for timers that are
// 1/8 late:
//
//   - Count is 3, since one lost probe is no dead peer.
//   - 9/8 × DetectionTime is at most Detect, and 9/8 × (Idle + Interval) is less
//     than IdleLimit, so that one lost probe does not lose the path.
//   - Interval is the longest that leaves room for an Idle three times as
//     long, or else 1 s.
//   - Idle is the longest that then fits: idle traffic costs batteries and
//     money.
//   - UserTimeout is off. With Unacked it is Idle + Count × Interval, so that the
//     kernel still gives an idle peer up when Count probes are out, no sooner
//     and no later.
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
	if t.Unacked {
		c.UserTimeout = c.Idle + probes*c.Interval
	}
	return c, nil
}

// probes is what Plan takes for Count, and ratio for Idle / Interval.
const (
	probes = 3
	ratio  = 3
)

// What the timers allow for at the least, with Idle and Interval at 1 s.
const (
	minDetect    = (1 + probes) * time.Second / 8 * 9
	minIdleLimit = 2 * time.Second / 8 * 9
)

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
	return nil
}

// room returns the most seconds for DetectionTime and for Idle + Interval with
// which timers that are 1/8 late meet t.
//
// The timer wheel can exceed 1/8, by 1/504: its levels begin at 63 times the
// granularity of the level before, which is 8 times finer. But Idle and Interval
// can't both be that unlucky at a ratio of 3.
func (t Target) room() (detect, limit int64) {
	const enough = (1 + probes) * maxSeconds * time.Second / 8 * 9 // for any Config
	most := func(demand time.Duration) int64 { return int64(min(cmp.Or(demand, enough), enough)) }
	return 8 * most(t.Detect) / int64(9*time.Second), (8*most(t.IdleLimit) - 1) / int64(9*time.Second)
}
