package main

import "time"

// never is for a dead peer that goes unnoticed for ever, unknown for what hangs
// on something that can't be read, and nothing for what is not there.
const (
	never   = "never"
	unknown = "?"
	nothing = "-"
)

// seconds is a duration in JSON.
type seconds float64

func toSeconds(d time.Duration) seconds { return seconds(d.Seconds()) }

// orNull returns nil for a value that is not there.
func orNull[T any](v T, there bool) *T {
	if !there {
		return nil
	}
	return &v
}
