package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary behave as the program.
const asProgram = "SOAK_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	netlab.Main(m)
}

// program returns the program, not started, in a process group of its own. It
// is killed if it hangs.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	mayFallSilent(t)
	netlab.NewNamespace(t) // the program needs one of its own
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// mayFallSilent skips the test where the kernel refuses that.
func mayFallSilent(t *testing.T) {
	t.Helper()
	w := open(t, 2)
	netlab.MustSilence(t, w.crowd.links[0].accepted)
}

func TestHolds(t *testing.T) {
	t.Parallel()
	cmd := program(t, "-connections", "2000", "-processes", "2", "-idle", "1s", "-interval", "1s", "-count", "3",
		"-hold", "3s", "-baseline", "2s", "-silenced", "20")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s%s", &stdout, &stderr)
	assert.Empty(t, stderr.String())
	for _, want := range []string{
		`policy    1s idle, 1s between 3 probes: dead after 4s, noticed within 5.5s\n`,
		`ramp      2,000 connections, 4,000 sockets, in \d`,
		`hold      3 s, no connection lost\n`,
		`noticed   20 silent peers, of 20 that fell silent within \d+ ms, and 0 others\n`,
		`since the silence began: [34]\.\d\d s to [345]\.`,
		`since the last answer to a probe: [34]\.\d\d s to [45]\.\d\d s, median`,
		`echo      1,980 of 1,980 messages came back,`,
		`close     1,980 of 1,980 connections ended in order, no message came twice,`,
		`policy    keepalive off,`,
		`hold      2 s, no connection lost\n`,
		`\| processes: reachable heap \| \d+\.\d B \| \d+\.\d B \|`,
		`\| probes \| \d+\.\d \| 0\.0 \|`,
		`In user memory the module adds -?\d`,
	} {
		assert.Regexp(t, want, stdout.String())
	}
}

// On a terminal Ctrl-C reaches every process of the group; kill(1) only one.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, pid := range map[string]func(*exec.Cmd) int{
		"terminal": func(cmd *exec.Cmd) int { return -cmd.Process.Pid },
		"kill":     func(cmd *exec.Cmd) int { return cmd.Process.Pid },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, "-connections", "100", "-processes", "2", "-idle", "1s", "-interval", "1s", "-hold", "1h", "-silenced", "1")
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			require.NoError(t, cmd.Start())
			assert.True(t, waitForLine(stdout, "settle "), "nothing to interrupt")
			assert.NoError(t, syscall.Kill(pid(cmd), syscall.SIGINT))
			io.Copy(io.Discard, stdout)
			cmd.Wait()
			assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
			assert.Equal(t, "soak: interrupted, all connections are closed\n", stderr.String())
		})
	}
}

func waitForLine(r io.Reader, prefix string) bool {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), prefix) {
			return true
		}
	}
	return false
}

func TestMissingLimitsAreNamed(t *testing.T) {
	t.Parallel()
	out, err := limited(t, 1000, "-connections", "1000000", "-processes", "1")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, exitFailed, exit.ExitCode())
	assert.Contains(t, out, "soak: 1,000,000 connections need more than there is:\n")
	assert.Contains(t, out, "the hard limit of descriptors is 1000, want 2000200: raise it (ulimit -Hn, limits.conf(5), LimitNOFILE=), or have -processes 2500\n")
	assert.NotContains(t, out, "ramp")
}

func TestSpread(t *testing.T) {
	t.Parallel()
	out, err := limited(t, 600, "-connections", "500", "-idle", "1s", "-interval", "1s", "-count", "1", "-hold", "1s", "-baseline", "0", "-silenced", "5")
	require.NoError(t, err, out)
	assert.Contains(t, out, "spread    over 3 processes,")
}

// limited runs the program where a process may open so many files, in a user
// namespace, so that not even root may raise that.
func limited(t *testing.T, files int, args ...string) (output string, err error) {
	t.Helper()
	cmd := program(t, args...)
	cmd.Path = "/bin/sh"
	cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, files)}, cmd.Args...)
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		netlab.Skip(t, err)
	}
	return string(out), err
}
