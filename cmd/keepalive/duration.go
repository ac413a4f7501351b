package main

import (
	"fmt"
	"strconv"
	"time"
)

// What a table shows where there is no number: never if a dead peer is never
// noticed, unknown if a sysctl can't be read, and nothing for no value.
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

// parseDuration is time.ParseDuration with an error that says what to write.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil {
		return d, nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("it lacks a unit, want one such as %ss", s)
	}
	return 0, fmt.Errorf("%q is no duration, want one such as 10m", s)
}

// durationFlag is the value of a flag.
type durationFlag time.Duration

func (d *durationFlag) Type() string { return "duration" }

// String returns nothing for zero, so that the help shows no default.
func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (d *durationFlag) Set(s string) error {
	parsed, err := parseDuration(s)
	*d = durationFlag(parsed)
	return err
}
