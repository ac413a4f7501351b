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

// of returns what the socket holds after the change.
func (c change) of(s *sockets.Socket) (keepalive.Config, error) {
	system := c.names["default"]
	result := s.Config
	result.Disable = c.policy.Disable
	if c.names["user_timeout"] || system {
		result.UserTimeout = c.policy.UserTimeout // zero is off
	}
	if c.policy.MaxRTO != 0 {
		result.MaxRTO = c.policy.MaxRTO
	}
	// A zero is the system's default.
	set(&result.Idle, c.policy.Idle, c.names["idle"])
	set(&result.Interval, c.policy.Interval, c.names["interval"])
	set(&result.Count, c.policy.Count, c.names["count"])
	if !system && result.Idle != 0 && result.Interval != 0 && result.Count != 0 {
		return result, nil
	}
	defaults, err := s.Defaults()
	if err != nil {
		return result, fmt.Errorf("the system's defaults can't be read: %w", err)
	}
	set(&result.Idle, defaults.Idle, system || result.Idle == 0)
	set(&result.Interval, defaults.Interval, system || result.Interval == 0)
	set(&result.Count, defaults.Count, system || result.Count == 0)
	if inherited := cmp.Or(defaults.MaxRTO, sockets.DefaultMaxRTO); system && s.MaxRTO() != inherited && !s.MPTCP {
		result.MaxRTO = inherited // which Multipath TCP has no option for
	}
	return result, result.Validate()
}

func set[T any](field *T, value T, ok bool) {
	if ok {
		*field = value
	}
}
