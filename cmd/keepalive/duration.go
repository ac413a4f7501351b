package main

import (
	"strings"
	"time"
)

// short returns d as time.Duration does, but rounded to what somebody who looks
// at it cares for, and without zero minutes and seconds at its end.
func short(d time.Duration) string {
	switch {
	case d > time.Minute:
		d = d.Round(time.Second)
	case d > time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

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
