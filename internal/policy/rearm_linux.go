//go:build !keepalive_portable

package policy

import (
	"math"
	"sync"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// Change sets c, which [Resolve] has returned, on a connection that may be
// probing.
//
// Idle that is written while keepalive is on arms the timer anew. If nothing has
// been heard for Idle, the timer then fires at once and sends a probe. While the
// answer to another probe is on its way, that one would end a connection to a
// live peer. So with a probe out Change writes nothing if the socket holds c, and
// otherwise turns keepalive off and on, which arms a full Idle and sends nothing.
func Change(fd uintptr, c Config) error {
	var info unix.TCPInfo
	if err := sockopt.TCPInfo(fd, &info); err != nil { // under qemu-user, or not TCP
		changed, err := changesTimer(fd, c)
		if err != nil {
			return err
		}
		return setAll(fd, c, changed)
	}
	if info.Probes > 0 && !c.Disable {
		held, err := holds(fd, c)
		if held || err != nil {
			return err
		}
		return restart(fd, c)
	}
	rearm, err := needsRearm(fd, &info, c)
	if err != nil {
		return err
	}
	return setAll(fd, c, rearm)
}

// restarting keeps two calls from one another: Idle that one writes after the
// other has turned keepalive on sends a probe.
var restarting sync.Mutex

// restart sets c while keepalive is off.
func restart(fd uintptr, c Config) error {
	restarting.Lock()
	defer restarting.Unlock()
	off := false
	for i := len(Options) - 1; i >= 0; i-- {
		o := &Options[i]
		if o.Zero == SystemDefault && !off {
			if err := SetKeepAlive(fd, false); err != nil {
				return err
			}
			off = true
		}
		if err := o.setResolved(fd, o.Value(c)); err != nil {
			if off {
				SetKeepAlive(fd, true)
			}
			return explain(fd, err)
		}
	}
	return SetKeepAlive(fd, true)
}

// holds reports whether the socket holds c.
func holds(fd uintptr, c Config) (bool, error) {
	held, err := Get(fd)
	if err != nil {
		return false, err
	}
	want := c.AsRead()
	for i := range Options {
		o := &Options[i]
		unchanged := o.Zero == Unchanged && o.Of(c) == 0
		rounded := o.Of(held) - o.Of(want)
		if unchanged || 0 <= rounded && rounded < int64(o.Tick) {
			held = o.With(held, o.Of(want))
		}
	}
	return held == want, nil
}

// needsRearm reports whether Idle must be set to arm the timer with c. No probe
// is out.
//
// Setting it always would be right but for its effect on a connection that has
// been silent for Idle: the timer fires at once and sends a probe. So it is
// left out where the timer is armed with c already, so that applying the same
// policy again and again sends none. Where Interval is longer than Idle, it
// would also replace the wait of an Interval after an answered probe by one of
// Idle.
func needsRearm(fd uintptr, info *unix.TCPInfo, c Config) (bool, error) {
	if c.Disable || c.Interval <= c.Idle && sinceHeard(info) < c.Idle {
		return true, nil // at most the wait of Idle begins anew where it began before
	}
	changed, err := changesTimer(fd, c)
	return changed || isOverdue(info, c), err
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
// A timer may be late. After an answered probe it is armed with Interval.
//
// The kernel counts probes in 8 bits (icsk_probes_out), which can wrap to zero
// with a UserTimeout. Once they may have, nothing is known.
func isOverdue(info *unix.TCPInfo, c Config) bool {
	silent := sinceHeard(info)
	if c.UserTimeout != 0 && silent >= c.Idle+math.MaxUint8*c.Interval {
		return false
	}
	return c.Interval <= c.Idle || silent > WithTimerSlack(c.Interval)+tolerance
}

// tolerance covers the tick of the kernel's clock and the time until a timer
// that has fired has run.
const tolerance = 100 * time.Millisecond

// sinceHeard is keepalive_time_elapsed of include/net/tcp.h.
func sinceHeard(info *unix.TCPInfo) time.Duration {
	return time.Duration(min(info.Last_data_recv, info.Last_ack_recv)) * time.Millisecond
}
