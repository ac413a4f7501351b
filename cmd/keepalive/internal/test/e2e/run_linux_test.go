package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
)

// enforced is the policy that the tests run programs with.
const enforced = "idle=1m1s,interval=7s,count=4,user_timeout=1m21s,max_rto=3s"

// A job is a command that runs in a control group of its own, or without one. It
// and what it starts in the group is killed when the test ends.
type job struct {
	*exec.Cmd
	group  *cgroup.Group
	in     io.WriteCloser
	out    *bufio.Reader
	stderr proctest.Buffer
}

// start starts a command, with pipes.
func start(t testing.TB, cmd *exec.Cmd) *job {
	t.Helper()
	return startIn(t, cgrouptest.New(t), cmd)
}

func startIn(t testing.TB, group *cgroup.Group, cmd *exec.Cmd) *job {
	t.Helper()
	j := &job{Cmd: cmd, group: group}
	var err error
	j.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, theirs, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { out.Close() })
	require.NoError(t, out.SetReadDeadline(time.Now().Add(3*time.Minute)))
	j.out = bufio.NewReader(out)
	cmd.Stdout, cmd.Stderr = theirs, &j.stderr
	cmd.WaitDelay = 10 * time.Second
	if group != nil {
		cgrouptest.Start(t, group, cmd)
	} else {
		require.NoError(t, cmd.Start())
	}
	theirs.Close()
	t.Cleanup(func() { // of what the test has not waited for
		cmd.Process.Kill()
		cmd.Wait()
	})
	return j
}

// line returns the next line that the job prints.
func (j *job) line(t testing.TB) string {
	t.Helper()
	line, err := j.out.ReadString('\n')
	require.NoError(t, err, "%s", j.stderr.String())
	return strings.TrimSuffix(line, "\n")
}

// rest returns what the job prints until it ends.
func (j *job) rest(t testing.TB) string {
	t.Helper()
	out, err := io.ReadAll(j.out)
	require.NoError(t, err)
	return string(out)
}

// end waits until the job ends, and asserts that no process and no group is left.
func (j *job) end(t testing.TB) syscall.WaitStatus {
	t.Helper()
	j.in.Close()
	j.Wait()
	if j.group != nil {
		pids, err := j.group.Processes()
		require.NoError(t, err)
		assert.Empty(t, pids)
		assert.Empty(t, below(t, j.group))
	}
	return j.ProcessState.Sys().(syscall.WaitStatus)
}

// below lists the groups below one.
func below(t testing.TB, g *cgroup.Group) (names []string) {
	t.Helper()
	entries, err := cgrouptest.Directory(t, g).ReadDir(-1)
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// running runs a program with the policy.
func running(t testing.TB, policy string, program ...string) *exec.Cmd {
	t.Helper()
	return command(t, append([]string{"run", policy, "--"}, program...)...)
}

// A runner runs a program with a policy by one of the methods.
type runner func(t testing.TB, policy string, program ...string) *exec.Cmd

// eachMethod runs a test by each method.
func eachMethod(t *testing.T, test func(t *testing.T, running runner)) {
	t.Parallel()
	cgrouptest.Need(t)
	t.Run("ebpf", func(t *testing.T) { test(t, running) })
	t.Run("seccomp", func(t *testing.T) {
		needSeccomp(t)
		test(t, seccomp)
	})
}

func TestRunExitCode(t *testing.T) { eachMethod(t, testRunExitCode) }

func testRunExitCode(t *testing.T, running runner) {
	t.Parallel()
	cgrouptest.Need(t)
	for _, tt := range []struct {
		program string
		code    int
		said    string
	}{
		{"true", 0, ""},
		{"sh -c exit\t7", 7, ""},
		{"sh -c exit\t255", 255, ""},
		{"/etc/passwd", exitNoExec, "keepalive run: /etc/passwd: permission denied\n"},
		{"/etc", exitNoExec, "keepalive run: /etc: is a directory\n"},
		{"nonesuch", exitNotFound, "keepalive run: nonesuch: not found in PATH\n"},
		{"/nonesuch/program", exitNotFound, "keepalive run: /nonesuch/program: no such file or directory\n"},
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			j := start(t, running(t, "default", strings.Split(tt.program, " ")...))
			assert.Equal(t, tt.code, j.end(t).ExitStatus())
			assert.Equal(t, tt.said, j.stderr.String())
		})
	}
}

// Run ends by the signal that ended the program, core dumps and stack traces
// aside.
func TestRunEndsAsTheProgram(t *testing.T) { eachMethod(t, testRunEndsAsTheProgram) }

func testRunEndsAsTheProgram(t *testing.T, running runner) {
	t.Parallel()
	cgrouptest.Need(t)
	for _, s := range []syscall.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGKILL, unix.SIGUSR1, unix.SIGSEGV, unix.SIGTERM, unix.SIGPIPE, 40} {
		t.Run(unix.SignalName(s), func(t *testing.T) {
			t.Parallel()
			j := start(t, hearing(running(t, "default", "sh", "-c", fmt.Sprintf("kill -%d $$", s))))
			status := j.end(t)
			assert.True(t, status.Signaled())
			assert.Equal(t, s, status.Signal())
			assert.False(t, status.CoreDump())
			assert.Empty(t, j.stderr.String())
		})
	}
}

// The first process of a PID namespace can't be killed by a signal of its own. Then
// the exit code is that of a shell.
func TestRunAsFirstProcess(t *testing.T) {
	t.Parallel()
	cmd := running(t, "default", "sh", "-c", "kill -TERM $$")
	cmd.Args = append([]string{"unshare", "-pf"}, cmd.Args...)
	cmd.Path = "/usr/bin/unshare"
	assert.Equal(t, 128+int(unix.SIGTERM), start(t, cmd).end(t).ExitStatus())
}

func TestRunPassesSignalsOn(t *testing.T) { eachMethod(t, testRunPassesSignalsOn) }

func testRunPassesSignalsOn(t *testing.T, running runner) {
	t.Parallel()
	passed := []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
		unix.SIGUSR1, unix.SIGSEGV, unix.SIGUSR2, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGSTKFLT, unix.SIGCONT,
		unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGWINCH, unix.SIGIO, unix.SIGPWR, unix.SIGSYS,
	}
	for n := syscall.Signal(35); n <= 64; n++ {
		passed = append(passed, n)
	}
	cmd := hearing(running(t, "default", testprogram, "signals", strconv.Itoa(len(passed))))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	j := start(t, cmd)
	require.Equal(t, "ready", j.line(t))
	for _, s := range passed {
		require.NoError(t, j.Process.Signal(s))
		assert.Equal(t, strconv.Itoa(int(s)), j.line(t))
	}
	assert.Zero(t, j.end(t))
}

// A signal that ends the program ends run too, and nothing is left.
func TestRunInterrupted(t *testing.T) { eachMethod(t, testRunInterrupted) }

func testRunInterrupted(t *testing.T, running runner) {
	t.Parallel()
	cgrouptest.Need(t)
	for _, s := range []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV,
		unix.SIGPIPE, unix.SIGTERM, unix.SIGSTKFLT, unix.SIGXCPU, unix.SIGSYS, 35,
	} {
		t.Run(fmt.Sprint(int(s)), func(t *testing.T) {
			t.Parallel()
			cmd := hearing(running(t, "default", "sh", "-c", "echo ready; exec sleep 60"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			j := start(t, cmd)
			require.Equal(t, "ready", j.line(t))
			for _, lost := range []syscall.Signal{unix.SIGURG, unix.SIGPROF} { // to Go's runtime
				require.NoError(t, j.Process.Signal(lost))
			}
			require.NoError(t, j.Process.Signal(s))
			assert.Equal(t, s, j.end(t).Signal())
			assert.Empty(t, j.stderr.String())
		})
	}
}

// A program that moves to another group takes its new connections out of the
// policy's reach, as docs/run.md says. Run ends as it does all the same.
func TestRunLeavesAProgramThatMoves(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	elsewhere := cgrouptest.New(t)
	dir, err := os.Readlink(fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, elsewhere).Fd()))
	require.NoError(t, err)
	script := fmt.Sprintf(`%s pair && echo $$ >%s/cgroup.procs && %[1]s pair && exit 7`, testprogram, dir)
	j := start(t, running(t, enforced, "sh", "-c", script))
	assert.Equal(t, both(enforced, false)+both(gos, false), j.rest(t))
	assert.Equal(t, 7, j.end(t).ExitStatus(), "%s", j.stderr.String())
}

// Signals at any moment, from before the program is started on, end it.
func TestRunInterruptedEarly(t *testing.T) { eachMethod(t, testRunInterruptedEarly) }

func testRunInterruptedEarly(t *testing.T, running runner) {
	t.Parallel()
	for delay := time.Duration(0); delay < 200*time.Millisecond; delay += 10 * time.Millisecond {
		cmd := running(t, "default", "sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		j := start(t, cmd)
		time.Sleep(delay)
		require.NoError(t, j.Process.Signal(unix.SIGTERM))
		assert.Equal(t, unix.SIGTERM, j.end(t).Signal(), delay)
	}
}

// A window that changes its size at any moment ends nothing.
func TestRunResizedEarly(t *testing.T) { eachMethod(t, testRunResizedEarly) }

func testRunResizedEarly(t *testing.T, running runner) {
	t.Parallel()
	for delay := time.Duration(0); delay < 100*time.Millisecond; delay += 10 * time.Millisecond {
		j := start(t, running(t, "default", "sleep", "0.1"))
		time.Sleep(delay)
		require.NoError(t, j.Process.Signal(unix.SIGWINCH))
		assert.Zero(t, j.end(t), "%v: %s", delay, j.stderr.String())
	}
}

// What the caller ignores, as nohup(1) does, the program ignores.
func TestRunIgnoredSignals(t *testing.T) { eachMethod(t, testRunIgnoredSignals) }

func testRunIgnoredSignals(t *testing.T, running runner) {
	t.Parallel()
	cmd := running(t, "default", "sh", "-c", "grep SigIgn /proc/self/status")
	cmd.Args = append([]string{"sh", "-c", `trap "" HUP INT; exec "$@"`, "sh"}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
	cmd.Path = "/bin/sh"
	j := start(t, cmd)
	ignored, err := strconv.ParseUint(strings.Fields(j.line(t))[1], 16, 64)
	require.NoError(t, err)
	j.end(t)
	for _, s := range []syscall.Signal{unix.SIGHUP, unix.SIGINT} {
		assert.NotZero(t, ignored&(1<<(s-1)), s)
	}
	assert.Zero(t, ignored&(1<<(unix.SIGTERM-1)))
}

// A terminal sends the signal of Ctrl-C to the program and to run. The program
// gets one.
func TestRunOnTerminal(t *testing.T) { eachMethod(t, testRunOnTerminal) }

func testRunOnTerminal(t *testing.T, running runner) {
	t.Parallel()
	keyboard, terminal := proctest.OpenTerminal(t)
	cmd := hearing(running(t, "default", testprogram, "signals", "3"))
	cmd.Stdin = terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	out, theirs, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { out.Close() })
	require.NoError(t, out.SetReadDeadline(time.Now().Add(3*time.Minute)))
	cmd.Stdout = theirs
	cgrouptest.Start(t, cgrouptest.New(t), cmd)
	theirs.Close()
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	// Run passes on all signals that come while it starts the program, see docs/run.md.
	require.NoError(t, cmd.Process.Signal(unix.SIGUSR1))
	require.True(t, lines.Scan())
	require.Equal(t, strconv.Itoa(int(unix.SIGUSR1)), lines.Text())
	_, err = keyboard.Write([]byte{3}) // Ctrl-C
	require.NoError(t, err)
	require.True(t, lines.Scan())
	assert.Equal(t, strconv.Itoa(int(unix.SIGINT)), lines.Text())
	require.NoError(t, cmd.Process.Signal(unix.SIGTERM))
	require.True(t, lines.Scan())
	assert.Equal(t, strconv.Itoa(int(unix.SIGTERM)), lines.Text(), "a second SIGINT")
	assert.NoError(t, cmd.Wait())
}

// Run waits for what the program leaves behind, and passes signals on to it.
func TestRunWaitsForAll(t *testing.T) { eachMethod(t, testRunWaitsForAll) }

func testRunWaitsForAll(t *testing.T, running runner) {
	t.Parallel()
	const daemon = `echo $$; setsid sh -c 'trap "echo got it; exit" TERM; echo ready; while :; do sleep 0.1; done' & exit 3`
	j := start(t, running(t, "default", "sh", "-c", daemon))
	program := j.line(t)
	require.Equal(t, "ready", j.line(t))
	await(t, func() bool { return !slices.Contains(children(t, j), program) }) // run has reaped it
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	assert.Equal(t, "got it", j.line(t))
	assert.Equal(t, 3, j.end(t).ExitStatus())
}

// children returns the children of the job, zombies included.
func children(t *testing.T, j *job) (pids []string) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", j.Process.Pid))
	require.NoError(t, err)
	for _, task := range tasks {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", j.Process.Pid, task.Name()))
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// await waits until a condition holds.
func await(t testing.TB, condition func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(time.Minute); !condition(); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(giveUp), "it does not come to pass")
	}
}

// The program inherits what it would have without run.
func TestRunInherits(t *testing.T) { eachMethod(t, testRunInherits) }

func testRunInherits(t *testing.T, running runner) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := running(t, "default", "sh", "-c", `cat; echo $VARIABLE; pwd; echo three >&3`)
	cmd.ExtraFiles = []*os.File{w}
	cmd.Env = append(cmd.Environ(), "VARIABLE=value")
	cmd.Dir = "/usr"
	j := start(t, cmd)
	w.Close()
	_, err = io.WriteString(j.in, "from stdin\n")
	require.NoError(t, err)
	j.in.Close()
	assert.Equal(t, "from stdin\nvalue\n/usr\n", j.rest(t))
	assert.Zero(t, j.end(t))
	three, err := io.ReadAll(r)
	assert.NoError(t, err)
	assert.Equal(t, "three\n", string(three))
}

func TestRunGivesNoDescriptorAway(t *testing.T) { eachMethod(t, testRunGivesNoDescriptorAway) }

func testRunGivesNoDescriptorAway(t *testing.T, running runner) {
	t.Parallel()
	direct := start(t, exec.Command("ls", "/proc/self/fd"))
	j := start(t, running(t, "default", "ls", "/proc/self/fd"))
	assert.Equal(t, direct.rest(t), j.rest(t))
	j.end(t)
	direct.end(t)
}

// The programs are on the group of the program alone.
func TestRunAttaches(t *testing.T) {
	t.Parallel()
	j := start(t, running(t, "default", "sh", "-c", "echo ready; cat"))
	require.Equal(t, "ready", j.line(t))
	inner := below(t, j.group)
	require.Len(t, inner, 1)
	own := cgrouptest.Directory(t, j.group)
	program, err := os.Open(fmt.Sprintf("/proc/self/fd/%d/%s", own.Fd(), inner[0]))
	require.NoError(t, err)
	defer program.Close()
	for _, attach := range []ebpf.AttachType{ebpf.AttachCGroupSockOps, ebpf.AttachCGroupSetsockopt, ebpf.AttachCGroupInetSockCreate} {
		for group, want := range map[*os.File]int{own: 0, program: 1} {
			result, err := link.QueryPrograms(link.QueryOptions{Target: int(group.Fd()), Attach: attach})
			require.NoError(t, err)
			assert.Len(t, result.Programs, want, attach)
		}
	}
	j.in.Close()
	assert.Zero(t, j.end(t))
}

// both is what testprogram reports of a connection whose ends hold the same.
func both(held string, mptcp bool) string {
	return strings.Repeat(fmt.Sprintln(held, mptcp), 2)
}

// A static Go program, with Go's own keepalive settings or with its own.
func TestRunGo(t *testing.T) { eachMethod(t, testRunGo) }

func testRunGo(t *testing.T, running runner) {
	t.Parallel()
	cgrouptest.Need(t)
	for _, args := range [][]string{{}, {"-own"}, {"-mptcp"}} {
		t.Run(strings.Join(args, ""), func(t *testing.T) {
			t.Parallel()
			j := start(t, running(t, enforced, append([]string{testprogram, "pair"}, args...)...))
			assert.Equal(t, both(enforced, false), j.rest(t))
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
		})
	}
}

// What the policy leaves out is the program's own.
func TestRunLeavesTheRest(t *testing.T) { eachMethod(t, testRunLeavesTheRest) }

func testRunLeavesTheRest(t *testing.T, running runner) {
	t.Parallel()
	j := start(t, running(t, "idle=1m1s", testprogram, "pair", "-own"))
	assert.Equal(t, both("idle=1m1s,interval=16s,count=17", false), j.rest(t))
	assert.Zero(t, j.end(t))
	j = start(t, running(t, "off,count=5", testprogram, "pair", "-own"))
	assert.Equal(t, both("off,idle=15s,interval=16s,count=5", false), j.rest(t))
	assert.Zero(t, j.end(t))
}

// Subflows of an inherited MPTCP socket may lack the policy, and MPTCP lacks some
// options.
func TestRunInheritedMPTCP(t *testing.T) {
	t.Parallel()
	netlab.SkipBefore(t, 6, 10, "TCP_KEEPIDLE of MPTCP")
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	if protocol, err := unix.GetsockoptInt(int(file.Fd()), unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_MPTCP {
		netlab.Skip(t, fmt.Errorf("net.Listen made no MPTCP socket (protocol %d, %v)", protocol, err))
	}
	before, err := keepalive.GetListener(ln)
	require.NoError(t, err)
	run := func(args ...string) (*job, string) {
		cmd := command(t, append(append([]string{"run"}, args...), "--", testprogram, "inherited")...)
		cmd.ExtraFiles = []*os.File{file}
		j := start(t, cmd)
		return j, j.rest(t)
	}
	j, out := run("idle=1m1s")
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Equal(t, "keepalive run: inherited descriptor 3 is an MPTCP socket, whose subflows may lack the policy: want a TCP socket, or --allow-mptcp\n", j.stderr.String())
	assert.Empty(t, out, "the program is not started")
	held, err := keepalive.GetListener(ln)
	require.NoError(t, err)
	assert.Equal(t, before, held)

	j, out = run("--allow-mptcp", "idle=1m1s,user_timeout=1m21s")
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Equal(t, "keepalive run: inherited descriptor 3: setsockopt TCP_USER_TIMEOUT: protocol not available: MPTCP lacks it, want a policy without it, or a TCP socket\n", j.stderr.String())
	assert.Empty(t, out)
	held, err = keepalive.GetListener(ln)
	require.NoError(t, err)
	assert.Equal(t, before, held)

	j, out = run("--allow-mptcp", "idle=1m1s")
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Contains(t, out, "idle=1m1s,")
	held, err = keepalive.GetListener(ln)
	require.NoError(t, err)
	assert.Equal(t, time.Minute+time.Second, held.Idle)
}

func TestRunAllowMPTCP(t *testing.T) {
	t.Parallel()
	const timing = "idle=1m1s,interval=7s,count=4"
	j := start(t, command(t, "run", "--allow-mptcp", timing, "--", testprogram, "pair", "-mptcp"))
	assert.Equal(t, both(timing, true), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// Of two policies the outer one wins, and the inner one has the rest.
func TestRunInRun(t *testing.T) {
	t.Parallel()
	inner := running(t, "idle=30s,interval=9s", testprogram, "pair")
	j := start(t, running(t, "idle=1m1s,count=4", inner.Args...))
	assert.Equal(t, both("idle=1m1s,interval=9s,count=4", false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// The program may make namespaces of its own.
func TestRunNamespaces(t *testing.T) {
	t.Parallel()
	netlab.LookPath(t, "ip")
	for _, flags := range [][]string{{"-n"}, {"-Urn"}, {"-Urnpf", "--mount-proc"}, {"-C"}} {
		t.Run(flags[0], func(t *testing.T) {
			t.Parallel()
			needUnshare(t, flags...)
			script := "ip link set lo up 2>/dev/null; exec " + testprogram + " pair"
			j := start(t, running(t, enforced, append(append([]string{"unshare"}, flags...), "sh", "-c", script)...))
			assert.Equal(t, both(enforced, false), j.rest(t))
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
		})
	}
}

// connections has testprogram's lines make another connection, and returns what
// both ends of each hold.
func connections(t testing.TB, j *job) (lines []string) {
	t.Helper()
	_, err := io.WriteString(j.in, "\n")
	require.NoError(t, err)
	for line := j.line(t); line != "done"; line = j.line(t) {
		lines = append(lines, line)
	}
	return lines
}

// gos is what Go's net sets.
const gos = "idle=15s,interval=15s,count=9"

// Without run connections stay as they are, and new ones are the program's.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	j := start(t, running(t, enforced, testprogram, "lines"))
	held := enforced + " false"
	require.Equal(t, []string{held, held}, connections(t, j))
	require.NoError(t, j.Process.Kill())
	j.Process.Wait()
	lines := connections(t, j)
	require.Len(t, lines, 4)
	assert.Equal(t, []string{held, held}, lines[:2])
	assert.Contains(t, lines[2], gos)
	assert.Contains(t, lines[3], gos)
	assert.Len(t, below(t, j.group), 1, "it stays behind")
}

// A listener that the program inherits has the policy, and is not guarded: a
// program that sets something else has that.
func TestRunInheritedListener(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	lc.KeepAlive = -1
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	cmd := running(t, "idle=1m1s,user_timeout=1m21s", testprogram, "inherited")
	cmd.ExtraFiles = []*os.File{file}
	j := start(t, cmd)
	const rest = "user_timeout=1m21s false\n"
	assert.Equal(t, "idle=1m1s,interval=15s,count=9,"+rest+"idle=15s,interval=15s,count=9,"+rest, j.rest(t),
		"what net sets on an accepted connection it sets on that of an inherited listener")
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	held, err := keepalive.GetListener(ln)
	require.NoError(t, err)
	assert.Equal(t, time.Minute+time.Second, held.Idle)
	assert.False(t, held.Disable)
}

const nobody = 65534

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		netlab.Skip(t, errors.New("only root can become another user: run the tests as root"))
	}
}

// needUnshare skips a test where unshare(1) may not make such namespaces, as in a
// chroot.
func needUnshare(t *testing.T, flags ...string) {
	t.Helper()
	out, err := exec.Command(netlab.LookPath(t, "unshare"), append(flags, "true")...).CombinedOutput()
	if err != nil {
		netlab.Skip(t, fmt.Errorf("unshare %v: %w: %s: run the tests outside of a chroot, where user namespaces are allowed", flags, err, bytes.TrimSpace(out)))
	}
}

// owned makes a group that belongs to nobody, as a unit's with Delegate= and
// User= belongs to that user.
func owned(t *testing.T) *cgroup.Group {
	t.Helper()
	cgrouptest.NeedMount(t)
	g := cgrouptest.New(t)
	needRoot(t)
	dir := fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, g).Fd())
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		require.NoError(t, os.Chown(filepath.Join(dir, name), nobody, nobody))
	}
	return g
}

// asNobody has a command run as nobody with some capabilities.
func asNobody(cmd *exec.Cmd, capabilities ...uintptr) *exec.Cmd {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
		AmbientCaps: capabilities,
	}
	return cmd
}

// Two capabilities are enough, and the program gets neither. Others are its
// caller's affair.
func TestRunCapabilities(t *testing.T) {
	t.Parallel()
	script := `grep -E "CapPrm|CapEff|CapAmb" /proc/self/status | cut -f2 | sort -u; exec ` + testprogram + " pair"
	cmd := asNobody(running(t, enforced, "sh", "-c", script), unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE)
	j := startIn(t, owned(t), cmd)
	const none = "0000000000000400\n" // CAP_NET_BIND_SERVICE
	assert.Equal(t, none+both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// What is missing is named, and what to do about it.
func TestRunWithoutRights(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	cgrouptest.Need(t)
	needRoot(t)
	outside := "eBPF is refused: operation not permitted: it takes rights in the initial user namespace"
	missing := func(names string) string {
		return "it takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and this process lacks " + names + ": run it as root, or setcap"
	}
	for name, tt := range map[string]struct {
		prepare func(*exec.Cmd) *exec.Cmd
		want    string
	}{
		"none":      {func(c *exec.Cmd) *exec.Cmd { return asNobody(c) }, missing("CAP_BPF and CAP_NET_ADMIN")},
		"BPF":       {func(c *exec.Cmd) *exec.Cmd { return asNobody(c, unix.CAP_BPF) }, missing("CAP_NET_ADMIN")},
		"NET_ADMIN": {func(c *exec.Cmd) *exec.Cmd { return asNobody(c, unix.CAP_NET_ADMIN) }, missing("CAP_BPF")},
		"user namespace": {func(c *exec.Cmd) *exec.Cmd {
			c.Args = append([]string{"unshare", "-Ur", c.Path}, c.Args[1:]...)
			c.Path = "/usr/bin/unshare"
			return c
		}, outside},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.want == outside {
				needUnshare(t, "-Ur")
			}
			j := startIn(t, owned(t), tt.prepare(command(t, "run", "--method=ebpf", enforced, "--", "echo", "started")))
			assert.Empty(t, j.rest(t))
			assert.Equal(t, exitFailed, j.end(t).ExitStatus())
			assert.Contains(t, j.stderr.String(), tt.want)
		})
	}
	t.Run("cgroup", func(t *testing.T) {
		t.Parallel()
		j := start(t, asNobody(command(t, "run", "--method=ebpf", enforced, "--", "echo", "started"), unix.CAP_BPF, unix.CAP_NET_ADMIN))
		assert.Empty(t, j.rest(t))
		assert.Equal(t, exitFailed, j.end(t).ExitStatus())
		assert.Contains(t, j.stderr.String(), "permission denied: run it as root, or in a group that belongs to this user")
	})
}

// Where cgroup v2 is mounted nowhere, run mounts it for itself.
func TestRunMounts(t *testing.T) {
	t.Parallel()
	needUnshare(t, "-m")
	needRoot(t)
	unmounted := func(cmd *exec.Cmd) *exec.Cmd {
		const script = `for m in $(awk '$3 == "cgroup2" { print $2 }' /proc/mounts); do umount -l "$m" || exit 99; done; exec "$@"`
		cmd.Args = append([]string{"unshare", "-m", "sh", "-c", script, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/usr/bin/unshare"
		return cmd
	}
	j := start(t, unmounted(running(t, enforced, testprogram, "pair")))
	assert.Equal(t, both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	helpless := command(t, "run", "--method=ebpf", enforced, "--", "echo", "started")
	helpless.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+bpf,+net_admin", "--ambient-caps=+bpf,+net_admin", helpless.Path}, helpless.Args[1:]...)
	helpless.Path = "/usr/bin/setpriv"
	j = start(t, unmounted(helpless))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "cgroup v2 is not mounted, and can't be: fsopen: operation not permitted: run it as root, or mount -t cgroup2")
}

func TestRunUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const script = `id -un; id -Gn; echo $HOME $USER $LOGNAME; grep -E "CapPrm|CapEff|CapAmb" /proc/self/status | cut -f2 | sort -u; exec "$0" pair`
	cmd := command(t, "run", "--user", "nobody", enforced, "--", "sh", "-c", script, testprogram)
	cmd.Dir = "/"
	j := start(t, cmd)
	assert.Equal(t, "nobody\nnogroup\n/nonexistent nobody nobody\n0000000000000000\n"+both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	j = start(t, command(t, "run", "--user", "nonesuch", enforced, "--", "echo", "started"))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Equal(t, "keepalive run: --user is \"nonesuch\", want the name of a user\n", j.stderr.String())

	j = startIn(t, owned(t), asNobody(command(t, "run", "--user", "root", enforced, "--", "echo", "started"), unix.CAP_BPF, unix.CAP_NET_ADMIN))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitNoExec, j.end(t).ExitStatus())
	assert.Regexp(t, `^keepalive run: /\S*/echo: operation not permitted\n$`, j.stderr.String())
}

// The set-user-ID bit and file capabilities make keepalive more than its caller.
// The program gets none of it.
func TestRunGainedRights(t *testing.T) {
	cgrouptest.NeedMount(t)
	eachMethod(t, testRunGainedRights)
}

func testRunGainedRights(t *testing.T, running runner) {
	t.Parallel()
	netlab.LookPath(t, "setcap")
	group := owned(t)
	for name, grant := range map[string][]string{
		"set-user-ID":       {"chmod", "4755"},
		"file capabilities": {"setcap", "cap_bpf,cap_net_admin,cap_setuid,cap_setgid+ep"},
	} {
		gained := filepath.Join(public, strings.ReplaceAll(t.Name(), "/", " ")+" "+name)
		require.NoError(t, exec.Command("cp", keepalivePath, gained).Run())
		out, err := exec.Command(grant[0], append(grant[1:], gained)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		cmd := running(t, enforced, "sh", "-c", `id -u; grep -E "CapPrm|CapEff" /proc/self/status | cut -f2 | sort -u; exec "$0" pair`, testprogram)
		cmd.Path = gained
		j := startIn(t, group, asNobody(cmd))
		assert.Equal(t, "65534\n0000000000000000\n"+both(enforced, false), j.rest(t), name)
		assert.Zero(t, j.end(t), "%s: %s", name, j.stderr.String())

		cmd = command(t, "run", "--user", "root", enforced, "--", "echo", "started")
		cmd.Path = gained
		j = startIn(t, group, asNobody(cmd))
		assert.Empty(t, j.rest(t), name)
		assert.Equal(t, exitFailed, j.end(t).ExitStatus(), name)
		assert.Contains(t, j.stderr.String(), "--user: keepalive has rights that its caller lacks", name)
	}
}

func TestRunUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{}, "want a policy, --, and a program"},
		{[]string{enforced}, "want a policy, --, and a program"},
		{[]string{enforced, "--"}, "want a policy, --, and a program"},
		{[]string{enforced, "echo"}, "want a policy, --, and a program"},
		{[]string{"--", enforced, "echo"}, "want a policy, --, and a program"},
		{[]string{"idle=0.5h,x=1", "--", "echo"}, `"x=1": unknown`},
		{[]string{"idle=0", "--", "echo"}, "idle is 0, want a value"},
		{[]string{"--method=magic", enforced, "--", "echo"}, `--method is "magic", want ebpf or seccomp`},
		{[]string{"--user"}, "--user has no value, want a NAME"},
		{[]string{"--nonesuch", enforced, "--", "echo"}, "there is no flag --nonesuch"},
	} {
		j := start(t, command(t, append([]string{"run"}, tt.args...)...))
		assert.Empty(t, j.rest(t))
		assert.Equal(t, exitFailed, j.end(t).ExitStatus(), tt.args)
		assert.Contains(t, j.stderr.String(), tt.want)
	}
}
