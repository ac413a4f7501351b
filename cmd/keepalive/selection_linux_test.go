package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// startGoAs starts the Go server as a user.
func startGoAs(t testing.TB, credential *syscall.Credential, address string) (*exec.Cmd, *output) {
	t.Helper()
	cmd := exec.Command(program(t, "goserver"), address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out := start(t, cmd)
	out.await(t, "listening")
	return cmd, out
}

// Sockets of the processes of control groups.
func TestSelectByGroup(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	root, err := cgroup.Root()
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	dir := cgrouptest.Directory(t, root)
	slice := fmt.Sprintf("keepaliveTest%d.slice", os.Getpid())
	unit := fmt.Sprintf("keepalive-test-%d.service", os.Getpid())
	path := slice + "/" + unit
	for _, made := range []string{slice, path} {
		if err := unix.Mkdirat(int(dir.Fd()), made, 0o755); err != nil {
			netlab.Skip(t, fmt.Errorf("a control group: %w", err))
		}
		defer unix.Unlinkat(int(dir.Fd()), made, unix.AT_REMOVEDIR)
	}
	inner, err := os.Open(filepath.Join("/proc/self/fd", itoa(int(dir.Fd())), path))
	require.NoError(t, err)
	defer inner.Close()
	server := exec.Command(program(t, "goserver"), "127.0.0.1:0")
	server.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(inner.Fd())}
	start(t, server).await(t, "listening")
	defer server.Wait()
	defer server.Process.Kill()
	startGo(t, "127.0.0.1:0") // elsewhere

	for flags, want := range map[string]int{
		"--cgroup=/" + slice:                             1, // of the group below it, too
		"--cgroup=/" + path:                              1,
		"--unit=" + slice:                                1,
		"--unit=" + unit:                                 1,
		"--unit=" + unit + " --cgroup=/" + slice:         1,
		"--unit=" + unit + " --pid=" + itoa(os.Getpid()): 0,
	} {
		l := list(t, strings.Fields(flags)...)
		require.Len(t, l, want, flags)
		if want > 0 {
			assert.Equal(t, server.Process.Pid, l[0].Processes[0].PID)
		}
	}
	r := runCommand(t, "set", "--unit", unit, "idle=71s")
	assert.Equal(t, "1 socket: 1 set\n", r.stderr)
	r = runCommand(t, "ls", "--unit", "nonesuch")
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stderr, "unit nonesuch.service has no group of cgroup v2: it is not running")
	empty := cgrouptest.Below(t, root)
	r = runCommand(t, "ls", "--cgroup", empty.Path())
	assert.Equal(t, result{exitProblem, "no TCP socket was found for --cgroup " + empty.Path() + "\n", ""}, r)
}

// Sockets of a network namespace, given in each way.
func TestSelectByNamespace(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	first := newLoopback(t)
	defer first.close()
	server, _ := startGo(t, "127.0.0.1:0")
	there := namespaceOf(t)
	netlab.NewNamespace(t)
	second := newLoopback(t)
	defer second.close()
	here := namespaceOf(t)
	count := func(flags ...string) int { return len(list(t, flags...)) }
	assert.Equal(t, 4, count("--netns", fmt.Sprint(there)))
	assert.Equal(t, 4, count("--netns", "/proc/"+pid(server)+"/ns/net"))
	assert.Equal(t, 3, count("--netns", fmt.Sprint(here)))
	assert.Equal(t, 7, count("--netns", fmt.Sprint(here), "--netns", fmt.Sprint(there)))
	assert.Equal(t, 1, count("--netns", fmt.Sprint(there), "--pid", pid(server)))
	for _, wrong := range []string{"nonesuch", "/proc/self/comm"} {
		r := runCommand(t, "ls", "--netns", wrong)
		assert.Equal(t, exitUsage, r.code)
		assert.Contains(t, r.stderr, "is no network namespace")
	}
}

// Ls names a namespace whose connections it can't count, unless the flags select others.
func TestSelectByUncountedNamespace(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, credential := dirOf(t, "nobody")
	startGoAs(t, credential, "127.0.0.1:0")
	there := namespaceOf(t)
	netlab.NewNamespace(t)
	uncounted := fmt.Sprintf(`(?m)^the TCP connections of network namespaces? (\d+, )*%d(, \d+)* could not be counted: `, there)
	for flags, want := range map[string]bool{
		"":                                      true,
		"--netns=" + fmt.Sprint(there):          true,
		"--netns=" + fmt.Sprint(namespaceOf(t)): false,
		"--netns=" + fmt.Sprint(there) + " --json": true,
	} {
		r := asNobody(t, append([]string{"ls"}, strings.Fields(flags)...)...)
		assert.Equal(t, exitDone, r.code, flags)
		assert.Equal(t, want, regexp.MustCompile(uncounted).MatchString(r.stdout+r.stderr), "%s: %s%s", flags, r.stdout, r.stderr)
	}
}

// A connection whose data nobody acknowledges is suspect, whoever holds it.
func TestSelectSuspects(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	conn, peer := pair(t, "tcp4", "127.0.0.1:0", "127.0.0.1")
	live := newLoopback(t)
	defer live.close()
	netlab.MustSilence(t, peer.(*net.TCPConn))
	_, err := conn.Write([]byte("lost"))
	require.NoError(t, err)
	for _, flags := range [][]string{{"--netns", fmt.Sprint(namespaceOf(t))}, ofThisProcess()} {
		var l []listed
		awaitThat(t, func() bool {
			l = list(t, append(flags, "--suspect", "--local", conn.LocalAddr().String())...)
			return len(l) > 0
		}, "%v", flags)
		assert.True(t, l[0].Suspect)
	}
	assert.Len(t, list(t, "--netns", fmt.Sprint(namespaceOf(t)), "--suspect"), 1, "and nothing else")
}

// What no descriptor is of: a connection that nobody has accepted, one that its
// program has closed, and the kernel's own.
func TestLsAll(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
	fresh := newLoopback(t)
	defer fresh.close()
	orphan, other := pair(t, "tcp4", "127.0.0.1:0", "127.0.0.1")
	netlab.MustSilence(t, other.(*net.TCPConn)) // and never hears that it has ended
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Connect(fd, fresh.address(t)))
	require.NoError(t, orphan.Close())
	awaitThat(t, func() bool { // a child that another test forks may hold it until it executes
		out, err := exec.Command(netlab.LookPath(t, "ss"), "-tanH").Output()
		require.NoError(t, err)
		return regexp.MustCompile(`(?m)^FIN-WAIT-1 `).Match(out)
	}, "the closed connection is no orphan")
	here := []string{"--netns", fmt.Sprint(namespaceOf(t))}
	held := list(t, here...)
	assert.Len(t, held, 6)
	states := make(map[string]int)
	for _, o := range list(t, append(here, "--all")...) {
		if len(o.Processes) == 0 {
			states[o.State]++
			assert.NotNil(t, o.Timer)
		}
	}
	assert.Equal(t, map[string]int{"established": 1, "fin-wait-1": 1}, states)
	r := runCommand(t, append([]string{"ls", "--all"}, here...)...)
	assert.Regexp(t, `(?m)^- +127\.0\.0\.1:\d+ +127\.0\.0\.1:\d+ `, r.stdout)
	assert.Len(t, list(t, append(here, append(ofThisProcess(), "--all")...)...), 6, "no process is none of the selected ones")
	r = runCommand(t, "ls", "--all", "--reader=getfd")
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stderr, "--all takes eBPF")
}
