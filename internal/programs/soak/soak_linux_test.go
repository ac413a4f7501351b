//go:build !keepalive_portable

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
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
	assert.Regexp(t, `^start     policy idle=1s,interval=1s,count=3, workers: 3
          a silent peer is noticed after 4s, within 5.5s
open      2000 connections opened and read back, after .*
settle    2000 connections still open, after .*
hold      2000 connections still open, after .*
          [1-9]\d* probes and .* ms of processor time a second
silence   20 silent peers noticed, no other connection lost
          .* s to .* s after the last answer, .* s to .* s after the silence
echo      1980 connections carried a message there and back, after .*
disable   1980 connections have keepalive off, after .*
baseline  1980 connections still open, after .*
          0 probes and .* ms of processor time a second
close     1980 connections ended in order, no message came twice, after .*
cost      .* of processor time .*
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

func TestErrors(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	for files, want := range map[int]string{
		201: "soak: start: the hard limit of open files is 201, want at least 202: see ulimit -Hn, limits.conf(5), LimitNOFILE=\n",
		202: "no space left on device\n",
	} {
		cmd := program(t, files)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if files > 201 {
			cmd.Stdout = full
		}
		assert.EqualError(t, cmd.Run(), "exit status 1")
		assert.Contains(t, stderr.String(), want)
	}
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

func TestMissingConnectionsAreFound(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	server := rpc.NewServer()
	require.NoError(t, server.Register(newWorker(options{connections: 10}, 0, 1)))
	go server.ServeConn(far)
	c := &coordinator{ctx: t.Context(), workers: []*rpc.Client{rpc.NewClient(near)}}
	_, err := c.all("Idle", 0, 11, "still open")()
	assert.EqualError(t, err, "10 connections still open, want 11")
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
		{22.4, 12, "a silent peer was noticed too late"},
		{22.3, 22.4, "a silent peer was noticed too late"},
		{18.9, 12, "a silent peer was noticed too early"},
		{19, 8.9, "a silent peer was noticed too early"},
	} {
		r := Reply{2, []time.Duration{20e9, time.Duration(tt.answer * 1e9)}, []time.Duration{15e9, time.Duration(tt.silence * 1e9)}}
		outcome, err := c.judge(r)
		assert.Equal(t, tt.want, fmt.Sprint(err))
		assert.Contains(t, outcome, "2 silent peers noticed")
	}
	_, err := c.judge(Reply{1, []time.Duration{20e9}, []time.Duration{15e9}})
	assert.EqualError(t, err, "1 of 2 silent peers noticed within 22.375s")
}
