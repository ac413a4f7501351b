package supervise

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/seccomppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/sockstress"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// body is the environment variable that makes the test binary a program to run.
const body = "SUPERVISE_PROGRAM"

func TestMain(m *testing.M) {
	if run, ok := bodies[os.Getenv(body)]; ok {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(netlab.Run(m, 1))
}

var policy = keepalive.Config{Idle: 61 * time.Second, Interval: 7 * time.Second, Count: 4, UserTimeout: 81 * time.Second}

var bodies = map[string]func() error{
	"stress": func() error { return sockstress.Run(16, 1600, 61) },
	"pair":   pair,
	"seven":  func() error { os.Exit(7); return nil },
	"term":   func() error { return unix.Kill(os.Getpid(), unix.SIGTERM) },
	"orphan": orphan,
	"wait":   wait,
}

// pair checks both ends of a connection of net's.
func pair() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	server, err := ln.Accept()
	if err != nil {
		return err
	}
	for _, conn := range []net.Conn{client, server} {
		if held, err := keepalive.Get(conn); err != nil || held != policy {
			return fmt.Errorf("%v, %v", held, err)
		}
	}
	return nil
}

// orphan leaves a process behind, with a pipe that ends with it.
func orphan() error {
	signal.Ignore(unix.SIGUSR1) // which is for the other one
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), body+"=wait")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Start()
}

// wait waits for a signal.
func wait() error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1)
	fmt.Println("ready")
	<-signals
	return pair()
}

// self prepares this binary to be a program.
func self(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return &exec.Cmd{
		Path: path, Args: []string{path}, Env: append(os.Environ(), body+"="+name),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, SysProcAttr: new(syscall.SysProcAttr),
	}
}

func newPolicy(t *testing.T) *seccomppolicy.Policy {
	t.Helper()
	p, err := seccomppolicy.New(policy, false)
	if err != nil {
		netlab.Skip(t, err)
	}
	return p
}

// A program with a filter holds the policy, however many signals it gets, and
// ends as it ends.
func TestRunFiltered(t *testing.T) {
	for name, want := range map[string]syscall.WaitStatus{"stress": 0, "pair": 0, "seven": 7 << 8, "term": syscall.WaitStatus(unix.SIGTERM)} {
		t.Run(name, func(t *testing.T) {
			status, err := make(Signals).RunFiltered(self(t, name), newPolicy(t))
			assert.NoError(t, err)
			assert.Equal(t, want, status)
		})
	}
}

// RunFiltered waits for what the program leaves behind, which still holds the
// policy and gets signals.
func TestRunFilteredWaits(t *testing.T) {
	out, theirs, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	defer theirs.Close()
	require.NoError(t, out.SetReadDeadline(time.Now().Add(time.Minute)))
	cmd := self(t, "orphan")
	cmd.Stdout = theirs
	signals := make(Signals, 1)
	ended := make(chan error)
	go func() {
		status, err := signals.RunFiltered(cmd, newPolicy(t))
		assert.Zero(t, status)
		ended <- err
	}()
	ready := make([]byte, 6)
	_, err = out.Read(ready)
	require.NoError(t, err)
	assert.Equal(t, "ready\n", string(ready))
	for waiting := true; waiting; {
		select {
		case signals <- unix.SIGUSR1: // until the program, which is not the process that waits, has ended
		case err := <-ended:
			assert.NoError(t, err)
			waiting = false
		case <-time.After(time.Minute):
			require.Fail(t, "it does not end")
		}
	}
}

// What can't be executed is an error as that of package exec.
func TestRunFilteredNoProgram(t *testing.T) {
	cmd := self(t, "pair")
	cmd.Path = t.TempDir()
	_, err := make(Signals).RunFiltered(cmd, newPolicy(t))
	var failed *os.PathError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, &os.PathError{Op: "fork/exec", Path: cmd.Args[2], Err: unix.EACCES}, failed)
}
