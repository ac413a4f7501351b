package main

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/cli"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-connections 1":               "soak: -connections is 1, want 2 to 1000000\n",
		"-connections 1000001":         "want 2 to 1000000\n",
		"-connections 10 -silenced 10": "soak: -silenced is 10, want 1 to 9, fewer than -connections\n",
		"-silenced 0":                  "want 1 to 99999",
		"-hold 10ms":                   "soak: -hold is 10ms, want at least 1s\n",
		"-baseline -1s":                "soak: -baseline is -1s, want at least 1s, or 0 for no comparison\n",
		"-processes -1":                "soak: -processes is -1, want 1 to 100000,",
		"-idle 0":                      "soak: -idle, -interval and -count want to be set:",
		"-idle 1500ms":                 "want whole seconds\n",
		"-idle 40000s":                 "want 1s to 9h6m7s",
		"-idle 1s":                     "soak: -interval is 3s, want at most 1s, which is -idle\n",
		"-count 200":                   "want 1 to 127",
		"-idle x":                      `invalid value "x" for flag -idle`,
		"-nonsense":                    "flag provided but not defined: -nonsense",
		"now":                          `soak: unexpected argument "now", want flags only`,
		"-fleet 10":                    "soak: -fleet wants a -probe-cost, such as 4us",
		"-probe-cost 1us":              "soak: -fleet is 0, want at least 1 connection\n",
		"-fleet 10 -probe-cost -1us":   "-fleet wants a -probe-cost",
		"-fleet -1 -probe-cost 1us":    "-fleet is -1",
	} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitUsage, run(strings.Fields(args), &stdout, &stderr), args)
		assert.Contains(t, stderr.String(), want, args)
		assert.Empty(t, stdout.String(), args)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	assert.Equal(t, exitHeld, run([]string{"-h"}, &stdout, &stderr))
	assert.Empty(t, stderr.String())
	for _, name := range []string{"connections", "idle", "interval", "count", "hold", "silenced", "baseline", "processes", "fleet", "probe-cost"} {
		assert.Contains(t, stdout.String(), "\n  -"+name+" ")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	trial := func(heap, probes int64) *result {
		return &result{Connections: 100_000, Processes: 11, Memory: Memory{Heap: heap, Stack: 1 << 20}, Window: sample{Time: time.Minute, Probes: probes}}
	}
	assert.NoError(t, check(trial(100<<20, 600_000), trial(100<<20, 0)))
	assert.NoError(t, check(trial(100<<20, 600_000), nil))
	assert.EqualError(t, check(trial(100<<20, 0), nil), "the kernel counts no probe within 1m0s")
	assert.EqualError(t, check(trial(100<<20, 600_000), trial(100<<20, 1)), "the kernel counts 1 probes with keepalive off")
	assert.EqualError(t, check(trial(100<<20+100_000*24, 600_000), trial(100<<20, 0)), "user memory differs by 24.0 bytes for each connection, want 0")
}

func TestProbeCost(t *testing.T) {
	t.Parallel()
	on := &result{Window: sample{Time: 10 * time.Second, Busy: 3 * time.Second, Probes: 100_000}}
	off := &result{Window: sample{Time: 5 * time.Second, Busy: time.Second}}
	assert.InDelta(t, 10*time.Microsecond, probeCost(on, off), 1, "0.3 processors less 0.2, for 10,000 probes a second")
}

func TestReport(t *testing.T) {
	t.Parallel()
	trial := func(busy time.Duration, probes int64) *result {
		return &result{Connections: 10, Processes: 1, Memory: Memory{Heap: 1640, Stack: 4096}, Window: sample{Time: 10 * time.Second, Busy: busy, Probes: probes}}
	}
	printed := func(on, off *result) string {
		var out bytes.Buffer
		report(cli.NewScreen(&out), on, off)
		return out.String()
	}
	got := printed(trial(1500*time.Millisecond, 100_000), trial(time.Second, 0))
	assert.Contains(t, got, "\n| processes: reachable heap | 164.0 B | 164.0 B | 0.0 B |\n")
	assert.Contains(t, got, "\n| probes | 10000.0 | 0.0 | 10000.0 |\n")
	assert.Contains(t, got, "\n| processor time of the machine | 150.00 ms | 100.00 ms | 50.00 ms |\n")
	assert.Contains(t, got, "\nA probe and its answer take 5µs of processor time, at both ends together.\nIn user memory the module adds 0.0 bytes to a connection.\n")
	for name, got := range map[string]string{
		"busy":     printed(trial(3*time.Second, 100_000), trial(2500*time.Millisecond, 0)),
		"negative": printed(trial(500*time.Millisecond, 100_000), trial(time.Second, 0)),
	} {
		assert.Contains(t, got, "lost in what else the machine does", name)
		assert.NotContains(t, got, "A probe and its answer", name)
	}
	assert.Contains(t, printed(trial(time.Second, 100_000), nil), "\n| each second | keepalive |\n| :--- | ---: |\n| probes | 10000.0 |\n")
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	times := []time.Duration{19 * time.Second, 9 * time.Second, 9500 * time.Millisecond, 11 * time.Second}
	assert.Equal(t, []string{
		"    9.0 s       2 ##################################################",
		"   10.0 s       0",
		"   11.0 s       1 #########################",
		"   12.0 s       0",
		"   13.0 s       0",
		"   14.0 s       0",
		"   15.0 s       0",
		"   16.0 s       0",
		"   17.0 s       0",
		"   18.0 s       0",
		"   19.0 s       1 #########################",
	}, histogram(times))
	least, median, most := extremes(times)
	assert.Equal(t, []time.Duration{9 * time.Second, 11 * time.Second, 19 * time.Second}, []time.Duration{least, median, most})
	assert.Len(t, histogram(times[:1]), 1)
}

func TestGroup(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 100_000: "100,000", 1_234_567: "1,234,567", -12: "-12", -123: "-123", -1234: "-1,234"} {
		assert.Equal(t, want, group(n))
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestReportThatNobodyCanRead(t *testing.T) {
	t.Parallel()
	s := cli.NewScreen(brokenWriter{})
	report(s, &result{Connections: 1, Window: sample{Time: time.Second}}, nil)
	assert.EqualError(t, s.Err(), "disk full")
}

// The table of docs/scale.md is what the command computes from the cost that
// stands above it.
func TestFleetTable(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/scale.md")
	require.NoError(t, err)
	m := regexp.MustCompile("(?s)\ngo run ./internal/soak (-fleet [^\n]+)\n```\n\n(\\|.*?\\|)\n\n").FindSubmatch(page)
	require.NotNil(t, m, "no command and table")
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitHeld, run(strings.Fields(string(m[1])), &stdout, &stderr), stderr.String())
	assert.Equal(t, stdout.String(), string(m[2])+"\n")
	cost := regexp.MustCompile(`-probe-cost (\S+)us`).FindSubmatch(m[1])
	require.NotNil(t, cost)
	assert.Contains(t, string(page), "A probe and its answer take "+string(cost[1])+"µs of processor time", "what was measured")
}
