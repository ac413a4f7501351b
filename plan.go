package keepalive

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/bounds"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Target is what a policy has to achieve. See [Plan].
type Target struct {
	// Detect is the longest time in which a dead peer has to be noticed,
	// counted from the last segment that arrived from it. It is at least
	// 4.5 s, which allows for three probes a second apart. Zero is no
	// demand.
	Detect time.Duration

	// IdleLimit is the shortest time after which a firewall, NAT or load
	// balancer on the path forgets an idle connection. It is more than 2.25
	// s, which allows for two probes a second apart. Zero means that
	// nothing on the path forgets.
	IdleLimit time.Duration

	// Unacked sets UserTimeout, which closes connections to live peers that
	// read slowly or pause: see [Config.UserTimeout]. Set SlowReads as well
	// where the kernel has MaxRTO, or else leave Unacked false and use
	// [Watcher], if the connections can be wrapped.
	//
	// Unacked bounds the time until a peer that dies with data in flight is
	// noticed, counted from the first retransmission. Without Unacked that
	// takes about 15 minutes.
	Unacked bool

	// SlowReads, with Unacked, sets MaxRTO instead of UserTimeout. A live
	// peer that reads slowly or stops reading is spared. It needs Linux
	// 6.15 and a Detect of at least 17.325 s. SlowReads without Unacked is
	// an error.
	SlowReads bool
}

// Plan returns a policy that meets t, in whole seconds, with timers that are
// 1/8 late:
//
//   - Count is 3, since one lost probe does not mean a dead peer.
//   - 9/8 × DetectionTime is at most Detect.
//   - 9/8 × (Idle + Interval) is less than IdleLimit, so one lost probe does
//     not lose the path.
//   - Interval is the longest that allows an Idle three times as long, or 1 s.
//   - Idle is the longest that then fits, since probes cost batteries and
//     money.
//   - With Unacked, UserTimeout is Idle + Count × Interval.
//   - With SlowReads, MaxRTO is the longest with 9/8 × (UnackedTime + MaxRTO)
//     at most Detect. Without Detect, UnackedTime + MaxRTO is at most
//     DetectionTime, or MaxRTO is 1 s.
//
// MaxRTO assumes 15 retransmissions, the default of tcp_retries2, or the
// system's tcp_retries2 if that is higher.
//
// An error names what cannot be met and the smallest value that can.
func Plan(t Target) (Config, error) {
	if err := t.validate(); err != nil {
		return Config{}, err
	}
	detect, limit := t.budget()
	interval := max(1, min(detect/(ratio+probes), limit/(ratio+1), policy.MaxSeconds/ratio))
	idle := min(detect-probes*interval, limit-interval, policy.MaxSeconds)
	c := Config{
		Idle:     time.Duration(idle) * time.Second,
		Interval: time.Duration(interval) * time.Second,
		Count:    probes,
	}
	switch {
	case t.SlowReads:
		limit := c.Idle + probes*c.Interval
		if t.Detect != 0 {
			limit = policy.WithoutTimerSlack(t.Detect)
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
var (
	minDetect    = policy.WithTimerSlack((1 + probes) * time.Second)
	minIdleLimit = policy.WithTimerSlack(2 * time.Second)
)

// mostRetransmissions is TCP_RETR2 of include/net/tcp.h, the default of
// tcp_retries2, or the system's if that is higher.
func mostRetransmissions() int {
	system, _, _ := policy.Retransmissions()
	return max(15, system)
}

// lastRetransmission is when data to a dead peer is given up at the latest, by
// timers that are not late.
func lastRetransmission(retries int, maxRTO time.Duration) time.Duration {
	return policy.ModelTimeout(retries, maxRTO) + maxRTO
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
		return t.shortDetect(minDetect, "")
	}
	if t.IdleLimit != 0 && t.IdleLimit <= minIdleLimit {
		return fmt.Errorf("keepalive: %w", &bounds.Error{
			Field: "IdleLimit", Value: t.IdleLimit.String(), Want: fmt.Sprintf("more than %v", minIdleLimit), Zero: "none",
		})
	}
	if t.SlowReads && !t.Unacked {
		return errors.New("keepalive: SlowReads without Unacked, want both or neither")
	}
	if t.SlowReads && t.Detect != 0 {
		least := lastRetransmission(mostRetransmissions(), time.Second)
		if policy.WithoutTimerSlack(t.Detect) < least {
			return t.shortDetect(policy.WithTimerSlack(least), "SlowReads")
		}
	}
	return nil
}

// shortDetect returns the error of a Detect below the least, which another field
// raises.
func (t Target) shortDetect(least time.Duration, with string) error {
	return fmt.Errorf("keepalive: %w", &bounds.Error{
		Field: "Detect", Value: t.Detect.String(), Want: fmt.Sprintf("%v or more", least), With: with, Zero: "no demand",
	})
}

// budget returns the most seconds for DetectionTime and for Idle + Interval with
// which timers that are late meet t.
//
// The timer wheel can exceed 1/8, by 1/504: its levels begin at 63 times the
// granularity of the level before, which is 8 times finer. But Idle and
// Interval can't both be that unlucky at a ratio of 3.
func (t Target) budget() (detect, limit int64) {
	detect, limit = (1+probes)*policy.MaxSeconds, (1+probes)*policy.MaxSeconds // for any Config
	if t.Detect != 0 {
		detect = min(detect, int64(policy.WithoutTimerSlack(t.Detect)/time.Second))
	}
	if t.IdleLimit != 0 {
		limit = min(limit, int64(policy.WithoutTimerSlack(t.IdleLimit-1)/time.Second)) // less than IdleLimit
	}
	return detect, limit
}
