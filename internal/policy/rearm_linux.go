//go:build !keepalive_portable

package policy

import (
	"math"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// Change sets c, which [Resolve] has returned, on a connection that may be
// probing.
func Change(fd uintptr, c Config) error {
	rearm, err := needsRearm(fd, c)
	if err != nil {
		return err
	}
	return setAll(fd, c, rearm)
}

// needsRearm reports whether Idle must be set to arm the timer with c.
//
// Setting it always would be right but for its effect on a connection that has
// been silent for Idle: the timer fires at once and sends a probe. So it is
// left out where the timer is armed with c already, so that applying the same
// policy again and again sends none. Where Interval is longer than Idle, it
// would also replace the wait of an Interval after an answered probe by one of
// Idle.
func needsRearm(fd uintptr, c Config) (bool, error) {
	var info unix.TCPInfo
	known := sockopt.TCPInfo(fd, &info) == nil // not under qemu-user
	if c.Disable || known && c.Interval <= c.Idle && sinceHeard(&info) < c.Idle {
		return true, nil // at most the wait of Idle begins anew where it began before
	}
	changed, err := changesTimer(fd, c)
	return changed || known && isOverdue(&info, c), err
}

// changesTimer reports whether the socket holds another policy than c, as far
// as the timer depends on it.
func changesTimer(fd uintptr, c Config) (bool, error) {
	on, err := sockopt.KeepAlive.Get(fd)
	if err != nil || on == 0 {
		return true, err
	}
	idle, err := sockopt.KeepIdle.Get(fd)
	if err != nil || time.Duration(idle)*time.Second != c.Idle {
		return true, err
	}
	interval, err := sockopt.KeepIntvl.Get(fd)
	return time.Duration(interval)*time.Second != c.Interval, err
}

// isOverdue reports whether a probe would have been sent by now if the timer
// were armed with c. It was armed with something longer then: a policy whose
// timer has not fired since, or a sysctl that was lowered since.
//
// A timer may be 1/8 late. After an answered probe it is armed with Interval.
//
// The kernel counts probes in 8 bits (icsk_probes_out), which can wrap with a
// UserTimeout. Once they may have, nothing is known.
func isOverdue(info *unix.TCPInfo, c Config) bool {
	silent := sinceHeard(info)
	if c.UserTimeout != 0 && silent >= c.Idle+math.MaxUint8*c.Interval {
		return false
	}
	due := c.Idle + time.Duration(info.Probes)*c.Interval
	if info.Probes == 0 {
		if c.Interval <= c.Idle {
			return true // a probe is due, however late the timer is
		}
		due = c.Interval
	}
	return silent > WithTimerSlack(due)+tolerance
}

// tolerance covers the tick of the kernel's clock and the time until a timer
// that has fired has run.
const tolerance = 100 * time.Millisecond

// sinceHeard is keepalive_time_elapsed of include/net/tcp.h.
func sinceHeard(info *unix.TCPInfo) time.Duration {
	return time.Duration(min(info.Last_data_recv, info.Last_ack_recv)) * time.Millisecond
}
