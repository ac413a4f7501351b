package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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

// A bar is as long as its time, as far as the terminal allows.
func TestTimelineIsToScale(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2, UserTimeout: 19800 * time.Millisecond}
	bar := func(limit time.Duration, width, i int) string {
		line := []rune(timeline(keepalive.Target{IdleLimit: limit}, c, width)[i])
		return string(line[len("in flight  "):])
	}
	assert.Len(t, []rune(bar(15*time.Second, 5, 4)), 20, "no terminal is too narrow to tell the bars apart")
	assert.Len(t, []rune(bar(15*time.Second, 31, 4)), 20)
	assert.Len(t, []rune(bar(15*time.Second, 32, 4)), 21)
	// The firewall forgets it after three times as long as the dead peer goes unnoticed:
	// a column is a second.
	assert.Equal(t, "├"+strings.Repeat("─", 59)+"x", bar(time.Minute, 61+11, 2))
	assert.Equal(t, "├─────────o────o────x", bar(time.Minute, 61+11, 0))
	// A moment later is out of the picture, which the rest fills: half a second.
	assert.Equal(t, "├"+strings.Repeat("─", 39)+"→", bar(time.Minute+1, 41+11, 2))
	assert.Equal(t, "├───────────────────o─────────o─────────x", bar(time.Minute+1, 41+11, 0))
}

// Lines are of what there is: a firewall that the plan is for, and what gives the peer up.
func TestTimelineSays(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2}
	lines := timeline(keepalive.Target{}, c, 80)
	require.Len(t, lines, 4)
	assert.Contains(t, lines[3], "; given up at 15m25s, at the next retransmission")
	c.UserTimeout = 19800 * time.Millisecond
	assert.True(t, strings.HasSuffix(timeline(keepalive.Target{}, c, 80)[3], "; given up at 20s"))
	// What leads out of the picture has no mark where it does.
	assert.Equal(t, "├o─→", drawing{columns: 4, end: 3 * time.Second}.bar(4*time.Second, []time.Duration{0, time.Second, 3 * time.Second}, 'o'))
}

// Data in flight is retransmitted after 200 ms, and then after twice as long each time,
// up to MaxRTO or else two minutes.
func TestRetransmissions(t *testing.T) {
	t.Parallel()
	seconds := func(c keepalive.Config) (all []float64, lost time.Duration) {
		times, lost := inFlight(c)
		for _, at := range times {
			all = append(all, at.Seconds())
		}
		return all, lost
	}
	times, lost := seconds(keepalive.Config{UserTimeout: 10 * time.Second})
	assert.Equal(t, []float64{0.2, 0.6, 1.4, 3, 6.2}, times)
	assert.Equal(t, 10200*time.Millisecond, lost)
	times, lost = seconds(keepalive.Config{UserTimeout: 1200 * time.Millisecond})
	assert.Equal(t, []float64{0.2, 0.6}, times, "none at the moment when the peer is given up: %v", lost)
	times, _ = seconds(keepalive.Config{UserTimeout: 5800 * time.Millisecond, MaxRTO: time.Second})
	assert.Equal(t, []float64{0.2, 0.6, 1.4, 2.4, 3.4, 4.4, 5.4}, times)
	times, lost = seconds(keepalive.Config{})
	assert.Len(t, times, 16, "tcp_retries2 is 15, and the first is not counted")
	assert.Equal(t, 120.0, times[15]-times[14])
	assert.Equal(t, 924800*time.Millisecond, lost, "docs/kernel.md has 924.6 s")
}
