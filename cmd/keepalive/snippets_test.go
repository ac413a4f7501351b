package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
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
	for _, limit := range []time.Duration{10 * time.Second, 350 * time.Second} { // and as long as the policy takes
		target := keepalive.Target{IdleLimit: limit}
		c, err := keepalive.Plan(target)
		require.NoError(t, err)
		detection, _ := c.DetectionTime()
		interval, count := questions(target, c, 1)
		assert.Equal(t, c.Count, count)
		assert.InDelta(t, detection.Seconds(), interval*(count+1), float64(count), target)
	}
	interval, count := questions(keepalive.Target{Detect: 4500 * time.Millisecond}, keepalive.Config{Count: 3}, 1)
	assert.Equal(t, []int{1, 3}, []int{interval, count}, "as many as there is time for")
	interval, count = questions(keepalive.Target{Detect: 45 * time.Second}, keepalive.Config{Count: 3}, sshdIntervals)
	assert.Equal(t, []int{5, 3}, []int{interval, count}, "6 and 3 would take 48 s")
}

// What sshd and ssh are said to take is what they take: they give up when the question
// after the last one is due.
func TestSSHTakes(t *testing.T) {
	t.Parallel()
	number := func(lines []string, expr string) int {
		m := regexp.MustCompile("(?m)" + expr).FindStringSubmatch(strings.Join(lines, "\n"))
		require.NotNil(t, m, "%s in %q", expr, lines)
		n, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		return n
	}
	for target, c := range demands(t) {
		lines := sshd(target, c)
		takes := number(lines, `^ClientAliveInterval (\d+)$`) * (number(lines, `^ClientAliveCountMax (\d+)$`) + 1)
		assert.Equal(t, takes, number(lines, `^# takes (\d+)s, `), target)
		assert.Equal(t, 2*takes, number(lines, `^# takes .*, and (\d+)s with OpenSSH 9.2 to 9.4$`), target)
		if target.Detect != 0 && target.IdleLimit == 0 {
			assert.Greater(t, time.Duration(2*takes)*time.Second, target.Detect-2*time.Duration(c.Count+2)*time.Second, target)
		}
		lines = ssh(target, c)
		takes = number(lines, `^ServerAliveInterval (\d+)$`) * (number(lines, `^ServerAliveCountMax (\d+)$`) + 1)
		assert.Equal(t, takes, number(lines, `^# takes (\d+)s$`), target)
		if target.Detect != 0 && target.IdleLimit == 0 {
			assert.Greater(t, time.Duration(takes)*time.Second, target.Detect-time.Duration(c.Count+2)*time.Second, "an interval in whole seconds that is longer takes too long: %v", target)
		}
	}
}

// tcp_retries2 is among the sysctls where the plan has a user timeout alone.
func TestRetriesAreSaid(t *testing.T) {
	t.Parallel()
	slow := keepalive.Target{Detect: 45 * time.Second, Unacked: true, SlowReads: true}
	idle := keepalive.Target{Detect: 45 * time.Second}
	all := demands(t)
	for _, target := range []keepalive.Target{slow, idle} {
		c, err := keepalive.Plan(target)
		require.NoError(t, err)
		all[target] = c
	}
	for target, c := range all {
		said := make(map[string]string)
		for _, s := range snippets(target, c) {
			said[s.name] = "\n" + strings.Join(s.lines, "\n") + "\n"
		}
		for program, want := range map[string]string{
			"sysctl.d":   "\nnet.ipv4.tcp_retries2 = %d\n# tcp_retries2 is for every program without a user timeout: ",
			"Docker":     " --sysctl net.ipv4.tcp_retries2=%d\n",
			"Compose":    "\n  net.ipv4.tcp_retries2: %d\n",
			"Kubernetes": "\n# where the kubelet has it in --allowed-unsafe-sysctls:\n# - {name: net.ipv4.tcp_retries2, value: \"%d\"}\n",
		} {
			if target == slow || target == idle {
				assert.NotContains(t, said[program], "retries2", target)
				continue
			}
			assert.Contains(t, said[program], fmt.Sprintf(want, mostRetries(target, c)), target)
			assert.NotContains(t, said[program], "  - {name: net.ipv4.tcp_retries2", "it is not safe")
		}
	}
}

// docs/plan.md has the settings that no test runs a program with.
func TestUnrunIsSaid(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/plan.md")
	require.NoError(t, err)
	_, unrun, found := strings.Cut(string(text), "\n## Not measured\n")
	require.True(t, found)
	unrun, _, found = strings.Cut(unrun, "\n\n- ")
	require.True(t, found, "a list follows the table")
	for target, c := range demands(t) {
		for _, s := range snippets(target, c) {
			last := s.lines[len(s.lines)-1]
			assert.Equal(t, strings.Contains(unrun, "\n| "+s.name), strings.HasPrefix(last, "# not run: "), "%s: %s", s.name, last)
		}
	}
}

// A demand is met to the second, with timers that are 1/8 late.
func TestMeets(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 1}
	nine := 9 * time.Second
	for target, want := range map[keepalive.Target]bool{
		{Detect: nine}: true, {Detect: nine - 1}: false,
		{IdleLimit: nine + 1}: true, {IdleLimit: nine}: false, {IdleLimit: 6 * time.Second}: false,
		{Detect: nine, IdleLimit: nine + 1}: true, {Detect: nine, IdleLimit: nine}: false, {Detect: nine - 1, IdleLimit: time.Hour}: false,
	} {
		assert.Equal(t, want, meets(c, target), target)
	}
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

	// With the default the waits of two minutes count too. The last one may have begun
	// right before the time of the model.
	least, most = retryTimes(15)
	assert.GreaterOrEqual(t, least, 924600*time.Millisecond)
	assert.Less(t, least, (924600+120_000)*time.Millisecond)
	assert.LessOrEqual(t, most, policy.WithTimerSlack((924600+120_000)*time.Millisecond))
}

// A program with one number gets the largest that meets the demand, or the
// smallest and the time that this takes.
func TestOneNumber(t *testing.T) {
	t.Parallel()
	for target, c := range demands(t) {
		lines := strings.Join(node(target, c), "\n")
		assert.Equal(t, target.Detect != 0 && target.Detect < 11*time.Second*9/8, strings.Contains(lines, "which may take"), "%v: %s", target, lines)
	}
	for target, c := range demands(t) {
		lines := redis(target, c)
		seconds, err := strconv.Atoi(strings.TrimPrefix(lines[0], "tcp-keepalive "))
		require.NoError(t, err)
		means := func(seconds int) keepalive.Config { // anetKeepAlive in src/anet.c
			return keepalive.Config{Idle: time.Duration(seconds) * time.Second, Interval: time.Duration(max(1, seconds/3)) * time.Second, Count: 3}
		}
		assert.Contains(t, lines[1], fmt.Sprintf("# means %v", means(seconds)))
		assert.Equal(t, meets(means(seconds), target), !strings.Contains(lines[1], "may take"))
		assert.True(t, seconds == 1 || meets(means(seconds), target), target)
		assert.True(t, seconds == int(c.Idle/time.Second) || !meets(means(seconds+1), target), "%d is not the largest: %v", seconds, target)
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
