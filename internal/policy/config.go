// Package policy sets and reads the keepalive policy of a socket. It works on
// descriptors: package keepalive calls it for connections of net, the command
// keepalive for the sockets of other processes.
//
// [Options] lists the socket options. Everything that goes through all of them,
// here and in the command, loops over that table.
package policy

import "time"

// Config has the fields of keepalive.Config, which documents them, in the same
// order, so that one converts to the other.
type Config struct {
	Disable     bool
	Idle        time.Duration
	Interval    time.Duration
	Count       int
	UserTimeout time.Duration
	MaxRTO      time.Duration
}

// Validate returns an error for the first field that no socket accepts.
func (c Config) Validate() error {
	for i := range Options {
		if err := Options[i].Validate(c); err != nil {
			return err
		}
	}
	return nil
}

// Effective returns c with the system's defaults in place of zero fields that
// select them.
func (c Config) Effective() Config {
	if c.Idle != 0 && c.Interval != 0 && c.Count != 0 {
		return c
	}
	defaults := SystemDefaults() // zero in the other fields
	for i := range Options {
		if o := &Options[i]; o.Of(c) == 0 {
			c = o.With(c, o.Of(defaults))
		}
	}
	return c
}

// IsComplete reports whether a socket accepts every field of c, and none of them
// is left to a system default.
func (c Config) IsComplete() bool {
	for i := range Options {
		o := &Options[i]
		if o.Zero == SystemDefault && o.Of(c) == 0 || o.Validate(c) != nil {
			return false
		}
	}
	return true
}
