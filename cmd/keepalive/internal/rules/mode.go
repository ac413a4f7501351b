package rules

import (
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Mode is how a rule treats what a program wants.
type Mode uint32

const (
	// Set has a connection hold the policy, whatever the program wants.
	Set Mode = iota
	// Tighten has it hold the stricter of the policy and what the program wants.
	Tighten
)

var modes = []string{Set: "set", Tighten: "tighten"}

func (m Mode) String() string { return modes[m] }

// Of returns what a socket holds of a policy whose program wants something. Fields
// of the policy that are zero are those of the program.
//
// Tighten never loosens, and does not give a peer up before the stricter of both
// would: Idle, Interval and MaxRTO are the smaller ones, Count is what the shorter
// detection time leaves room for, and UserTimeout is lowered where there is one.
// Where keepalive is off, the socket takes the policy.
func (m Mode) Of(named, wanted keepalive.Config) keepalive.Config {
	held := merge(policy.Config(named), policy.Config(wanted))
	if m == Tighten {
		held = tighten(held, policy.Config(wanted))
	}
	return keepalive.Config(held)
}

func merge(named, wanted policy.Config) policy.Config {
	held := wanted
	held.Disable = named.Disable
	for i := range policy.Options {
		o := &policy.Options[i]
		if value := o.Value(named); value != 0 {
			held = o.WithValue(held, value)
		}
	}
	return held
}

// tighten computes what the programs of package cgrouppolicy compute in the units of
// the options.
func tighten(c, wanted policy.Config) policy.Config {
	c.UserTimeout = min(c.UserTimeout, wanted.UserTimeout) // none is added
	c.MaxRTO = smaller(c.MaxRTO, wanted.MaxRTO)
	if wanted.Disable {
		return c
	}
	shorter := min(detection(c), detection(wanted))
	c.Idle, c.Interval = smaller(c.Idle, wanted.Idle), smaller(c.Interval, wanted.Interval)
	room := max(shorter-seconds(c.Idle), 0)
	if interval := seconds(c.Interval); interval != 0 {
		room /= interval
	}
	c.Count = int(min(max(room, 1), 127))
	return c
}

// detection is how many seconds an idle peer that is dead goes unnoticed without
// UserTimeout.
func detection(c policy.Config) int64 { return seconds(c.Idle) + seconds(c.Interval)*int64(c.Count) }

// seconds takes a negative value, which a sysctl can have, for a great one.
func seconds(d time.Duration) int64 { return int64(uint32(d / time.Second)) }

// smaller takes a value that is wanted and not above zero, as a sysctl can have it, for
// none.
func smaller(policy, wanted time.Duration) time.Duration {
	if wanted <= 0 {
		return policy
	}
	return min(policy, wanted)
}
