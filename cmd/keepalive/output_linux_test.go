package main

import (
	"bufio"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A command whose output is lost fails, whichever it is, and says why.
func TestOutputToAFullDevice(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, _ := startGo(t, "127.0.0.1:7000")
	for _, args := range []string{
		"--version", "--help", "help", "help ls", "ls --help", "run --help", "completion bash",
		"ls --pid " + pid(server), "ls --json --pid " + pid(server), "ls --watch 10ms --pid " + pid(server),
		"set idle=1m --pid " + pid(server), "defaults", "plan --detect 45s",
		"probe --max 1m 127.0.0.1:7000", "probe --max 1s --json 127.0.0.1:7000",
	} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		require.NoError(t, err)
		defer full.Close()
		cmd := command(t, strings.Fields(args)...)
		cmd.Stdout = full
		var stderr strings.Builder
		cmd.Stderr = &stderr
		require.Error(t, cmd.Run(), args)
		want := exitProblem
		if args == "run --help" {
			want = exitFailed
		}
		assert.Equal(t, want, cmd.ProcessState.ExitCode(), args)
		assert.Contains(t, stderr.String(), "keepalive: write /dev/stdout: no space left on device\n", args)
	}
}

// set changes every socket that is selected, whether or not anybody reads what it
// prints, and fails in the end. By SIGPIPE it would end half way.
func TestSetWithoutAReader(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	const address = "127.9.8.7" // of no other test, as set reaches every namespace
	ln, err := net.Listen("tcp", address+":7000")
	require.NoError(t, err)
	defer ln.Close()
	const connections = 200
	for range connections {
		dial(t, address+":7000")
		server, err := ln.Accept()
		require.NoError(t, err)
		defer server.Close()
	}
	cmd := command(t, "set", "--local", address, "idle=1m1s")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	// It has no room for all lines, however late the reader goes.
	_, err = unix.FcntlInt(out.(*os.File).Fd(), unix.F_SETPIPE_SZ, 4096)
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReaderSize(out, 16).ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		require.NoError(t, err, "%s", line)
	}
	out.Close()
	cmd.Wait()
	assert.Equal(t, exitProblem, cmd.ProcessState.ExitCode(), "%v: %s", cmd.ProcessState, stderr.String())
	set := 0
	for _, s := range list(t, "--local", address) {
		if s.Idle == 61 {
			set++
		}
	}
	assert.Equal(t, connections+1, set, "the listening socket too")
}
