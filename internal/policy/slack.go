package policy

import "time"

// WithTimerSlack returns the latest time after which a timer of the kernel fires
// that is set to d: docs/kernel.md#timer-slack.
func WithTimerSlack(d time.Duration) time.Duration { return d + d/8 }

// WithoutTimerSlack returns the longest time that a timer can be set to, if it
// has to fire within d.
func WithoutTimerSlack(d time.Duration) time.Duration { return d/9*8 + d%9*8/9 }
