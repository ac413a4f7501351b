package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// startBlocked starts a command whose output nobody reads, and waits until it is
// blocked by that.
func startBlocked(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	out := os.NewFile(uintptr(pipe[1]), "pipe")
	t.Cleanup(func() {
		out.Close()
		unix.Close(pipe[0])
	})
	for page := make([]byte, 4096); ; {
		_, err := unix.Write(pipe[1], page)
		if err == unix.EAGAIN {
			break
		}
		require.NoError(t, err)
	}
	require.NoError(t, unix.SetNonblock(pipe[1], false))
	cmd := command(t, args...)
	cmd.Stdout = out
	require.NoError(t, cmd.Start())
	awaitThat(t, func() bool {
		waits, err := filepath.Glob("/proc/" + pid(cmd) + "/task/*/wchan")
		require.NoError(t, err)
		for _, name := range waits {
			if where, _ := os.ReadFile(name); strings.Contains(string(where), "pipe_write") {
				return true
			}
		}
		return false
	}, "%v is not blocked", args)
	return cmd
}

// The first signal asks a command to end, and the second one ends it. It is not
// SIGINT, which the caller of the tests may ignore.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	cmd := startBlocked(t, "ls", "--watch", "1s")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	giveUp := time.After(time.Minute)
	for {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			exit, ok := errors.AsType[*exec.ExitError](err)
			require.True(t, ok, err)
			assert.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal())
			return
		case <-time.After(50 * time.Millisecond):
		case <-giveUp:
			cmd.Process.Kill()
			t.Fatal("signals don't end it")
		}
	}
}

// Who ends a command knows that it did not end by itself.
func TestInterruptedSaysNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	server, _ := startGo(t, "127.0.0.1:0")
	for _, args := range []string{"ls", "ls --json", "ls --hang never", "set off --pid " + pid(server)} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, exitProblem, run(ctx, strings.Fields(args), &stdout, &stderr), args)
		assert.Empty(t, stderr.String(), args)
	}
}
