package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
)

func TestTimeline(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2, UserTimeout: 19800 * time.Millisecond}
	// 41 columns of half a second each.
	assert.Equal(t, strings.TrimPrefix(`
idle       ├───────────────────o─────────o─────────x
           probes at 10s, 15s; given up at 20s
firewall   ├─────────────────────────────x
           would forget it at 15s; an answered probe starts that anew
in flight  ├rr───r─────r────────────r──────────────x
           retransmitted from 200ms on; given up at 20s
`, "\n"), strings.Join(timeline(keepalive.Target{IdleLimit: 15 * time.Second}, c, 41+11), "\n")+"\n")
}

// What is far off leads out of the picture.
func TestTimelineOutOfThePicture(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 1, MaxRTO: 120 * time.Second}
	lines := timeline(keepalive.Target{IdleLimit: time.Hour}, c, 52)
	assert.Equal(t, "idle       ├─────────────────────────o─────────────x", lines[0])
	assert.Equal(t, "           probe at 10s; given up at 15s", lines[1])
	assert.Equal(t, "firewall   ├───────────────────────────────────────→", lines[2])
	assert.True(t, strings.HasSuffix(lines[4], "─→"), lines[4])
}
