package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary behave as the program.
const asProgram = "SOAK_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	netlab.Main(m)
}

// program returns the program, whose processes may open so many files. It is
// killed if it hangs.
func program(t *testing.T, files int, args ...string) *exec.Cmd {
	t.Helper()
	open(t)                // skips the test where peers may not fall silent
	netlab.NewNamespace(t) // skips it where the program may not make one
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	t.Cleanup(cancel)
	limit := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", limit, os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

func TestSoak(t *testing.T) {
	t.Parallel()
	cmd := program(t, 1600, "-connections", "2000", "-policy", "idle=1s,interval=1s,count=3", "-hold", "3s")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s%s", &stdout, &stderr)
	assert.Empty(t, stderr.String())
	assert.Regexp(t, `^start     3 processes, policy idle=1s,interval=1s,count=3: a silent peer is noticed after 4s, within 5.5s
open      2000 connections opened and read back, after .*
settle    2000 connections still open, after .*
hold      2000 connections still open, after .*; each second [1-9]\d* probes, .* of processor time
silence   20 of 20 silent peers noticed, no other connection lost
          .* s to .* s after the last answer, .* s to .* s after the silence
echo      1980 connections carried a message there and back, after .*
disable   1980 connections have keepalive off, after .*
baseline  1980 connections still open, after .*; each second 0 probes, .*
close     1980 connections ended in order, no message came twice, after .*
cost      .* of processor time for a probe and its answer, both ends together
$`, stdout.String())
}

// An interrupt ends all processes: each has the standard error.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	cmd := program(t, 300, "-connections", "100", "-policy", "idle=1s,interval=1s,count=3", "-hold", "1h")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	stderr, w, err := os.Pipe()
	require.NoError(t, err)
	defer stderr.Close()
	cmd.Stderr = w
	require.NoError(t, cmd.Start())
	w.Close()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "settle") {
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	stderr.SetReadDeadline(time.Now().Add(30 * time.Second))
	said, err := io.ReadAll(stderr)
	assert.NoError(t, err)
	assert.Equal(t, "soak: interrupted\n", string(said))
	assert.EqualError(t, cmd.Wait(), "exit status 130")
}

func TestTooFewFiles(t *testing.T) {
	t.Parallel()
	out, err := program(t, 201).CombinedOutput()
	assert.EqualError(t, err, "exit status 1")
	assert.Contains(t, string(out), "soak: start: the hard limit of open files is 201, want at least 202: see ulimit -Hn, limits.conf(5), LimitNOFILE=\n")
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	cmd := program(t, 1000)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = full, &stderr
	assert.EqualError(t, cmd.Run(), "exit status 1")
	assert.Contains(t, stderr.String(), "no space left on device")
}

func TestRaise(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "limit")
	require.NoError(t, os.WriteFile(file, []byte("1000\n"), 0o600))
	for need, want := range map[int]string{999: "1000\n", 1001: "1001"} {
		restore, err := raise(file, need)
		require.NoError(t, err)
		raised, _ := os.ReadFile(file)
		assert.Equal(t, want, string(raised))
		restore()
		restored, _ := os.ReadFile(file)
		assert.Equal(t, "1000\n", string(restored))
	}
	_, err := raise(file+" of another network namespace", 1001)
	assert.NoError(t, err)
	_, err = raise("/proc/sys/kernel/random/entropy_avail", 100_000) // read-only
	assert.ErrorContains(t, err, "want at least 100000, or probes are dropped: ")
}

func TestJudge(t *testing.T) {
	t.Parallel()
	c := &coordinator{options: options{connections: 200, policy: keepalive.Config{Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}}}
	for _, tt := range []struct {
		answer, silence float64 // of the second of two peers, in seconds
		want            string
	}{
		{19, 9, "<nil>"},
		{22.37, 22.3, "<nil>"},
		{22.4, 12, "of 2 silent peers 0 were not noticed, 1 after more than 22.375s, and 0 in less than 19s"},
		{22.3, 22.4, "of 2 silent peers 0 were not noticed, 1 after more than 22.375s, and 0 in less than 19s"},
		{18.9, 12, "of 2 silent peers 0 were not noticed, 0 after more than 22.375s, and 1 in less than 19s"},
		{19, 8.9, "of 2 silent peers 0 were not noticed, 0 after more than 22.375s, and 1 in less than 19s"},
	} {
		first := Notice{SinceAnswer: 20 * time.Second, SinceSilence: 15 * time.Second}
		second := Notice{SinceAnswer: time.Duration(tt.answer * 1e9), SinceSilence: time.Duration(tt.silence * 1e9)}
		assert.Equal(t, tt.want, fmt.Sprint(c.judge([]Notice{first, second})))
		assert.ErrorContains(t, c.judge([]Notice{second}), "of 2 silent peers 1 were not noticed, ")
	}
}
