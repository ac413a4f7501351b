package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// built are the command and the servers, all static, that the tests run. They lie
// where every user may run them.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir := os.Getenv("MUTANT_PROGRAMS"); dir != "" { // of internal/programs/mutate
		return dir, nil
	}
	dir, err = os.MkdirTemp("", "keepalive")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	// It removes them once this process has ended, however it does.
	broom := exec.Command("sh", "-c", `read x; rm -r "$0"`, dir)
	broom.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if untilTheEnd, err = broom.StdinPipe(); err != nil {
		return "", err
	}
	if err := broom.Start(); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, ".", "./testdata/goserver", "./testdata/crowd", "./testdata/threads")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return dir, err
})

// untilTheEnd stays open until this process ends.
var untilTheEnd io.Closer

// program returns the path of one of them.
func program(t testing.TB, name string) string {
	t.Helper()
	dir, err := built()
	require.NoError(t, err)
	return filepath.Join(dir, name)
}

// command returns the command, which sees the sockets of this process too.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), program(t, "keepalive"), args...)
}

// result is what came of a command.
type result struct {
	code           int
	stdout, stderr string
}

func runCommand(t testing.TB, args ...string) result {
	t.Helper()
	return finish(t, command(t, args...))
}

func finish(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		require.NoError(t, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// listed is an object of ls --json.
type listed struct {
	jsonSocket
	Idle        seconds `json:"idle"`
	Interval    seconds `json:"interval"`
	Count       int     `json:"count"`
	UserTimeout seconds `json:"user_timeout"`
	MaxRTO      seconds `json:"max_rto"`
	jsonPeer
}

// A jsonSocket is what ls --json prints of a socket before its options.
type jsonSocket struct {
	Processes []jsonProcess   `json:"processes"`
	State     string          `json:"state"`
	Local     *netip.AddrPort `json:"local"`
	Remote    *netip.AddrPort `json:"remote"`
	NetNS     *uint64         `json:"netns"`
	MPTCP     bool            `json:"mptcp"`
	KeepAlive bool            `json:"keepalive"`
}

type jsonProcess struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	FD      int    `json:"fd"`
}

// A jsonPeer is what ls --json prints of a socket after its options.
type jsonPeer struct {
	UnnoticedIdle     *seconds `json:"unnoticed_idle"`
	UnnoticedInFlight *seconds `json:"unnoticed_in_flight"`
	Timer             *string  `json:"timer"`
	TimerLeft         *seconds `json:"timer_left"`
	*jsonStatus                // nil unless the connection is established and open
}

type jsonStatus struct {
	Heard       seconds `json:"heard"`
	Probes      int     `json:"probes"`
	Retransmits int     `json:"retransmits"`
	Unacked     int     `json:"unacked"`
	RTT         seconds `json:"rtt"`
	Suspect     bool    `json:"suspect"`
}

// list runs ls --json.
func list(t testing.TB, args ...string) []listed {
	t.Helper()
	r := runCommand(t, append([]string{"ls", "--json"}, args...)...)
	require.Contains(t, []int{exitDone, exitProblem}, r.code, r.stderr)
	return objects(t, r.stdout)
}

func objects(t testing.TB, lines string) (list []listed) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(lines)); ; {
		o := listed{jsonPeer: jsonPeer{jsonStatus: new(jsonStatus)}} // which json does not make
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err)
		// Another test's command has a duplicate for a moment.
		o.Processes = slices.DeleteFunc(o.Processes, func(p jsonProcess) bool { return p.Command == "keepalive" })
		list = append(list, o)
	}
}

// pid is the value of a flag.
func pid(cmd *exec.Cmd) string { return fmt.Sprint(cmd.Process.Pid) }

// start starts a program that ends with the test, in the network namespace of
// the calling thread. It returns what the program prints.
func start(t testing.TB, cmd *exec.Cmd) *output {
	t.Helper()
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true // servers fork
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrPermission) {
		netlab.Skip(t, err)
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	return out
}

// output is what a program has printed so far.
type output struct{ proctest.Buffer }

// await waits until the program has printed something.
func (o *output) await(t testing.TB, pattern string) {
	t.Helper()
	expr := regexp.MustCompile(pattern)
	awaitThat(t, func() bool { return expr.MatchString(o.String()) }, "%q in %v", pattern, o)
}

// awaitThat waits until something is true, on the goroutine of the test.
func awaitThat(t testing.TB, isTrue func() bool, format string, args ...any) {
	t.Helper()
	for giveUp := time.Now().Add(2 * time.Minute); !isTrue(); time.Sleep(20 * time.Millisecond) {
		require.Truef(t, time.Now().Before(giveUp), format, args...)
	}
}

// dial connects to a server of the same namespace as soon as it listens.
func dial(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	var conn net.Conn
	awaitThat(t, func() (ok bool) {
		var err error
		conn, err = net.Dial("tcp", address)
		return err == nil
	}, "nobody listens on %s", address)
	t.Cleanup(func() {
		conn.(*net.TCPConn).SetLinger(0) // nobody waits for a silenced peer
		conn.Close()
	})
	return conn.(*net.TCPConn)
}

// startGo starts a static Go program that serves on an address.
func startGo(t testing.TB, address string) (*exec.Cmd, *output) {
	t.Helper()
	cmd := exec.Command(program(t, "goserver"), address)
	out := start(t, cmd)
	out.await(t, "listening")
	return cmd, out
}

func startRedis(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(netlab.LookPath(t, "redis-server"), append([]string{"--bind", "127.0.0.1", "--port", "6379", "--save", ""}, args...)...)
	cmd.Dir = t.TempDir()
	start(t, cmd)
	return cmd
}

// value returns what v points to, and fails where that is nothing.
func value[T any](t testing.TB, v *T) T {
	t.Helper()
	if !assert.NotNil(t, v) {
		return *new(T)
	}
	return *v
}
