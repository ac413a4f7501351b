//go:build !linux || keepalive_portable

package policy

import (
	"runtime"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
)

// SystemDefaults returns what the documentation of the system says.
func SystemDefaults() (c Config) {
	c.Idle, c.Interval, c.Count = sysctl.Documented(runtime.GOOS)
	return c
}

// Retransmissions returns false: this package models Linux alone.
func Retransmissions() (retries int, maxRTO time.Duration, ok bool) { return 0, 0, false }
