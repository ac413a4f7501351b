package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// demands are those that a plan may have to meet.
func demands(t *testing.T) map[keepalive.Target]keepalive.Config {
	t.Helper()
	all := make(map[keepalive.Target]keepalive.Config)
	for _, detect := range []time.Duration{0, 4500 * time.Millisecond, 12 * time.Second, 30 * time.Second, 45 * time.Second, time.Hour} {
		for _, limit := range []time.Duration{0, 2300 * time.Millisecond, 10 * time.Second, 350 * time.Second} {
			target := keepalive.Target{Detect: detect, IdleLimit: limit, Unacked: true}
			if detect == 0 && limit == 0 {
				continue
			}
			c, err := keepalive.Plan(target)
			require.NoError(t, err)
			all[target] = c
		}
	}
	return all
}

// SSH asks as often as the demand allows, and before the path forgets.
func TestSSHQuestions(t *testing.T) {
	t.Parallel()
	for target, c := range demands(t) {
		for _, intervals := range []int{1, sshdIntervals} {
			interval, count := questions(target, c, intervals)
			every := time.Duration(intervals*interval) * time.Second
			assert.Positive(t, interval)
			assert.Positive(t, count)
			if target.Detect != 0 {
				assert.LessOrEqual(t, every*time.Duration(count+1), target.Detect, target)
			}
			if target.IdleLimit != 0 {
				assert.Less(t, every, target.IdleLimit, target)
			}
		}
	}
	interval, count := questions(keepalive.Target{Detect: 45 * time.Second}, keepalive.Config{Count: 3}, sshdIntervals)
	assert.Equal(t, []int{5, 3}, []int{interval, count}, "6 and 3 would take 48 s")
}

// tcp_retries2 is the largest that meets the demand. 5 is what Elasticsearch's
// manual recommends.
func TestMostRetries(t *testing.T) {
	t.Parallel()
	for target, c := range demands(t) {
		limit := target.Detect
		if limit == 0 {
			limit = policy.WithTimerSlack(c.UserTimeout)
		}
		retries := mostRetries(target, c)
		_, most := retryTimes(retries)
		_, more := retryTimes(retries + 1)
		assert.LessOrEqual(t, most, limit, target)
		assert.True(t, more > limit || retries == 15, target)
	}
	assert.Equal(t, 3, mostRetries(keepalive.Target{Detect: 12 * time.Second}, keepalive.Config{}))
	assert.Equal(t, 5, mostRetries(keepalive.Target{Detect: 45 * time.Second}, keepalive.Config{}))

	for detect, want := range map[time.Duration]string{12 * time.Second: "3.0s to 7.9s", 45 * time.Second: "12.6s to 29.2s"} {
		target := keepalive.Target{Detect: detect, Unacked: true}
		c, err := keepalive.Plan(target)
		require.NoError(t, err)
		assert.Contains(t, strings.Join(sysctlLines(target, c, sysctlsOf(target, c)), "\n"), want, "docs/plan.md has this")
	}

	// With a wait of 200 ms first, the third retransmission after the first one is
	// due 2.8 s after it, which is before the model's 3 s, and the fourth 6 s after.
	least, most := retryTimes(3)
	assert.GreaterOrEqual(t, least, policy.ModelTimeout(3, 0))
	assert.InDelta(t, 7.0*9/8, most.Seconds(), 0.05)
}

// A program with one number gets the largest that meets the demand, or the
// smallest and the time that this takes.
func TestOneNumber(t *testing.T) {
	t.Parallel()
	for target, c := range demands(t) {
		lines := strings.Join(node(target, c), "\n")
		assert.Equal(t, target.Detect != 0 && target.Detect < 11*time.Second*9/8, strings.Contains(lines, "which may take"), "%v: %s", target, lines)
	}
	twelve := keepalive.Target{Detect: 12 * time.Second}
	c, err := keepalive.Plan(twelve)
	require.NoError(t, err)
	assert.Equal(t, []string{"socket.setKeepAlive(true, 1000)", "# means idle=1s,interval=1s,count=10, which may take 12.375s"}, node(twelve, c))
}

// A comment is one in the language of the lines, so that all of them can be copied.
func TestComments(t *testing.T) {
	t.Parallel()
	for target, c := range demands(t) {
		for _, s := range snippets(target, c) {
			slashes := s.name == "Java" || s.name == "Node.js" || s.name == "Rust"
			for _, line := range s.lines {
				if mark, _, ok := cutComment(line); ok {
					assert.Equal(t, slashes, mark == "// ", "%s: %s", s.name, line)
				}
			}
		}
	}
}

// Sysctls name what they apply to, and the kernel that they need.
func TestSysctlsSayWhatTheyNeed(t *testing.T) {
	t.Parallel()
	for target, want := range map[keepalive.Target]string{
		{Detect: 2 * time.Minute, Unacked: true, SlowReads: true}: "# tcp_rto_max_ms is for every program that sets no max_rto, and needs Linux 6.15",
		{Detect: 2 * time.Minute, Unacked: true}:                  "# tcp_retries2 is for every program without a user timeout: ",
	} {
		c, err := keepalive.Plan(target)
		require.NoError(t, err)
		assert.Contains(t, strings.Join(sysctlLines(target, c, sysctlsOf(target, c)), "\n"), want)
	}
}
