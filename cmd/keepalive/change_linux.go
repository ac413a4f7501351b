package main

import (
	"fmt"
	"strings"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A change is a policy as it was written. An option that it does not name stays
// as the socket holds it.
type change struct {
	policy policy.Config
	named  map[string]bool // the keys, also those whose value is zero
}

func parseChange(s string) (change, error) {
	c, named, err := policy.Parse(s)
	if err != nil {
		return change{}, usageError{err}
	}
	return change{c, named}, nil
}

// restores reports whether the option goes back to the value of a new socket.
func (c change) restores(o *policy.Option) bool {
	return o.Of(c.policy) == 0 && (c.named["default"] || c.named[o.Key])
}

// of returns what the socket holds after the change.
func (c change) of(s *sockets.Socket) (keepalive.Config, error) {
	result := policy.Config(s.Config)
	result.Disable = c.policy.Disable
	var defaults *policy.Config // read once, if an option needs them
	for i := range policy.Options {
		o := &policy.Options[i]
		switch {
		case o.Of(c.policy) != 0:
			result = o.With(result, o.Of(c.policy))
		case !c.restores(o):
		case o.Zero == policy.Off:
			result = o.With(result, 0)
		case s.MPTCP && o.Zero == policy.Unchanged && !c.named[o.Key]: // MPTCP lacks the option
		default:
			if defaults == nil {
				d, err := s.Defaults()
				if err != nil {
					return s.Config, fmt.Errorf("the system's defaults can't be read: %w", err)
				}
				defaults = &d
			}
			if o.Held(result) != o.Held(*defaults) {
				result = o.With(result, o.Held(*defaults))
			}
		}
	}
	return keepalive.Config(result), s.Check(keepalive.Config(result))
}

// withValues returns the parts of a policy that set each option to a value.
func withValues(value string) string {
	var parts []string
	for i := range policy.Options {
		parts = append(parts, policy.Options[i].Key+"="+value)
	}
	return enumerate(parts, "and")
}

// enumerate returns the parts with commas and a conjunction between them.
func enumerate(parts []string, conjunction string) string {
	last := len(parts) - 1
	return strings.Join(parts[:last], ", ") + " " + conjunction + " " + parts[last]
}
