package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// A change is a policy as somebody wrote it down. What it leaves out stays as a
// socket has it.
type change struct {
	policy keepalive.Config
	names  map[string]bool // the keys that are there, some perhaps with a zero
}

func parseChange(s string) (change, error) {
	policy, err := keepalive.Parse(s)
	if err != nil {
		return change{}, usageError{err}
	}
	c := change{policy, make(map[string]bool)}
	for part := range strings.SplitSeq(s, ",") {
		key, _, _ := strings.Cut(strings.TrimSpace(part), "=")
		c.names[key] = true
	}
	return c, nil
}

// restores reports whether an option goes back to what a new socket has.
func (c change) restores(key string, zero bool) bool {
	return c.names["default"] || c.names[key] && zero
}

// of returns what the socket holds after the change.
func (c change) of(s *sockets.Socket) (keepalive.Config, error) {
	result := s.Config
	result.Disable = c.policy.Disable
	set(&result.Idle, c.policy.Idle, c.policy.Idle != 0)
	set(&result.Interval, c.policy.Interval, c.policy.Interval != 0)
	set(&result.Count, c.policy.Count, c.policy.Count != 0)
	set(&result.UserTimeout, c.policy.UserTimeout, c.policy.UserTimeout != 0 || c.restores("user_timeout", true)) // off on a new socket
	set(&result.MaxRTO, c.policy.MaxRTO, c.policy.MaxRTO != 0)

	idle, interval := c.restores("idle", c.policy.Idle == 0), c.restores("interval", c.policy.Interval == 0)
	count, maxRTO := c.restores("count", c.policy.Count == 0), c.restores("max_rto", c.policy.MaxRTO == 0)
	if idle || interval || count || maxRTO {
		defaults, err := s.Defaults()
		if err != nil {
			return result, fmt.Errorf("the system's defaults can't be read: %w", err)
		}
		set(&result.Idle, defaults.Idle, idle)
		set(&result.Interval, defaults.Interval, interval)
		set(&result.Count, defaults.Count, count)
		// Multipath TCP has no option for it.
		inherited := cmp.Or(defaults.MaxRTO, sockets.DefaultMaxRTO)
		set(&result.MaxRTO, inherited, maxRTO && s.MaxRTO() != inherited && (!s.MPTCP || c.names["max_rto"]))
	}
	return result, s.Check(result)
}

func set[T any](field *T, value T, ok bool) {
	if ok {
		*field = value
	}
}
