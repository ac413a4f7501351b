// Package duration writes durations for people.
package duration

import (
	"strings"
	"time"
)

// Format returns d as [time.Duration.String] does, rounded to what a reader needs
// and without zero minutes and seconds at its end: 250ms, 4.5s, 2m30s, 2h11m15s,
// 2h.
func Format(d time.Duration) string {
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
