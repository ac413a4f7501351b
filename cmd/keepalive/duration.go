package main

import (
	"strings"
	"time"
)

// short returns d as time.Duration does, without zero minutes and seconds at its
// end, and to a tenth of a second where it is longer than one.
func short(d time.Duration) string {
	if d > time.Second {
		d = d.Round(100 * time.Millisecond)
	} else {
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

// never is for a dead peer that goes unnoticed for ever, and unknown for what
// hangs on something that can't be read.
const (
	never   = "never"
	unknown = "?"
)
