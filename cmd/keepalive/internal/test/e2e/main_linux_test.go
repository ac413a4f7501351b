// Package e2e_test has keepalive run and keepalive attach deal with real
// programs, users, namespaces and a firewall.
package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
)

// Exit codes of the command.
const (
	exitProblem  = 1
	exitUsage    = 2
	exitFailed   = 125
	exitNoExec   = 126
	exitNotFound = 127
)

// The programs, in a folder that every user can read.
var public, keepalivePath, testprogram string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	err := closeOnExec()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if public, err = os.MkdirTemp("", "keepalive"); err == nil {
		defer os.RemoveAll(public)
		err = os.Chmod(public, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cgrouptest.Run(m)
}

// closeOnExec sets FD_CLOEXEC on the descriptors that the tests have inherited. In the
// child package syscall may overwrite one of them, the one after the largest that the
// program is given, so two programs might not inherit the same.
func closeOnExec() error {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// build builds the command, with the race detector if the tests have it, and a
// static program for it to run.
func build() error {
	keepalivePath, testprogram = filepath.Join(public, "keepalive"), filepath.Join(public, "testprogram")
	race := exec.Command("go", "build", fmt.Sprintf("-race=%v", withRace), "-o", keepalivePath, "../../..")
	static := exec.Command("go", "build", "-o", testprogram, "../../programs/testprogram")
	static.Env = append(os.Environ(), "CGO_ENABLED=0")
	for _, cmd := range []*exec.Cmd{race, static} {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", cmd, err, out)
		}
	}
	return nil
}

// command prepares the command. It is killed if it hangs.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, keepalivePath, args...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	return cmd
}

// hearing has a command get the signals that the caller of the tests ignores.
func hearing(cmd *exec.Cmd) *exec.Cmd {
	cmd.Args = append([]string{"env", "--default-signal", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/usr/bin/env"
	return cmd
}

// writeExecutable writes an executable. If this process wrote it, a child that another
// test forks meanwhile would hold it open for writing: ETXTBSY.
func writeExecutable(t testing.TB, path, text string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `cat >"$0" && chmod 755 "$0"`, path)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
