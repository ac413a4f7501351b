package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
)

// attaching attaches a policy to a group.
func attaching(t testing.TB, g *cgroup.Group, policy string, flags ...string) *exec.Cmd {
	t.Helper()
	return command(t, append([]string{"attach", "--cgroup", g.Path(), policy}, flags...)...)
}

// Connections that are open are set once, and those that come hold the policy.
// When attach is stopped, or killed, all of them stay as they are, and new ones
// are the program's.
func TestAttach(t *testing.T) {
	t.Parallel()
	cgrouptest.Need(t)
	held := enforced + " false"
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGKILL} {
		t.Run(unix.SignalName(s), func(t *testing.T) {
			t.Parallel()
			program := start(t, exec.Command(testprogram, "lines", "-tcp"))
			for _, line := range connections(t, program) {
				require.Contains(t, line, gos)
			}
			cmd := hearing(attaching(t, program.group, enforced))
			cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
			j := start(t, cmd)
			assert.Equal(t, program.group.Path()+": 1 process, 2 open connections.", j.line(t))
			assert.Equal(t, fmt.Sprintf("New connections of %s hold %s until this command ends.", program.group.Path(), enforced), j.line(t))
			for range 2 {
				line := j.line(t)
				assert.Contains(t, line, fmt.Sprintf("testprogram[%d]", program.Process.Pid))
				assert.Contains(t, line, gos)
				assert.True(t, strings.HasSuffix(line, " → "+enforced), line)
			}
			assert.Equal(t, []string{held, held, held, held}, connections(t, program))

			require.NoError(t, j.Process.Signal(s))
			said := j.rest(t)
			if status := j.end(t); s == unix.SIGKILL {
				assert.Equal(t, s, status.Signal())
			} else {
				assert.Zero(t, status, "%s", j.stderr.String())
				assert.Equal(t, "Stopped: connections keep what they hold, and new ones are the program's own.\n", said)
			}
			lines := connections(t, program)
			assert.Equal(t, []string{held, held, held, held}, lines[:4])
			assert.Contains(t, lines[4], gos)
			assert.Contains(t, lines[5], gos)
		})
	}
}

// What the policy leaves out stays as it is, on connections that are open too.
func TestAttachLeavesTheRest(t *testing.T) {
	t.Parallel()
	cgrouptest.Need(t)
	for policy, want := range map[string]string{
		"idle=1m1s": "idle=1m1s,interval=15s,count=9 false",
		"default":   "idle=15s,interval=15s,count=9 false",
		"off":       "off,idle=15s,interval=15s,count=9 false",
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			program := start(t, exec.Command(testprogram, "lines", "-tcp"))
			connections(t, program)
			j := start(t, attaching(t, program.group, policy))
			for range 4 {
				j.line(t)
			}
			assert.Equal(t, []string{want, want, want, want}, connections(t, program))
		})
	}
}

// Attach goes on without anybody who reads what it prints, and fails in the end.
func TestAttachWithoutOutput(t *testing.T) {
	t.Parallel()
	program := start(t, exec.Command(testprogram, "lines", "-tcp"))
	connections(t, program)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	cmd := hearing(attaching(t, program.group, enforced))
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	cmd.Stdout = full
	var said proctest.Buffer
	cmd.Stderr = &said
	cgrouptest.Start(t, cgrouptest.New(t), cmd)
	held := enforced + " false"
	await(t, func() bool { return connections(t, program)[0] == held })
	lines := connections(t, program)
	assert.Equal(t, held, lines[len(lines)-1])
	require.NoError(t, cmd.Process.Signal(unix.SIGTERM))
	assert.Error(t, cmd.Wait())
	assert.Equal(t, exitProblem, cmd.ProcessState.ExitCode())
	assert.Regexp(t, `^(\d+ sockets?: .*\n)?keepalive: write /dev/stdout: no space left on device\n$`, said.String())
}

// A group that is removed and made again is another one.
func TestAttachToRemovedGroup(t *testing.T) {
	t.Parallel()
	group, err := cgrouptest.New(t).New()
	require.NoError(t, err)
	j := start(t, attaching(t, group, enforced))
	require.Equal(t, group.Path()+": 0 processes, 0 open connections.", j.line(t))
	require.Contains(t, j.line(t), "until this command ends")
	require.NoError(t, group.Remove())
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitProblem, j.end(t).ExitStatus())
	assert.Equal(t, fmt.Sprintf("keepalive: cgroup %s has been removed, as when its service stops: attach again when it is back, or use --follow\n", group.Path()), j.stderr.String())
}

// Who may not touch the connections that are open is told so, and the new ones
// hold the policy all the same.
func TestAttachWithoutRightsToOpenConnections(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	program := start(t, exec.Command(testprogram, "lines", "-tcp"))
	connections(t, program)
	cmd := asNobody(attaching(t, program.group, enforced), unix.CAP_BPF, unix.CAP_NET_ADMIN)
	j := start(t, cmd)
	assert.Regexp(t, ": 1 process, 0 open connections; 1 process could not be looked into .*CAP_SYS_PTRACE", j.line(t))
	require.Contains(t, j.line(t), "until this command ends")
	await(t, func() bool { return strings.Contains(j.stderr.String(), "it takes CAP_SYS_PTRACE") })
	lines := connections(t, program)
	assert.Contains(t, lines[0], gos)
	assert.Contains(t, lines[1], gos)
	assert.Equal(t, []string{enforced + " false", enforced + " false"}, lines[2:])
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	assert.Contains(t, j.rest(t), "Stopped")
	assert.Equal(t, exitProblem, j.end(t).ExitStatus())
}

func TestAttachRefused(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	group := cgrouptest.New(t)
	j := startIn(t, group, asNobody(attaching(t, group, enforced)))
	assert.NotContains(t, j.rest(t), "New connections")
	assert.Equal(t, exitProblem, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "this process lacks CAP_BPF and CAP_NET_ADMIN")
}

func TestAttachUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"default", exitUsage, "no control group is selected, want one of --unit, --pid, --cgroup and --all"},
		{"--all", exitUsage, "POLICY is missing, want: keepalive attach [FLAG...] POLICY"},
		{"--all --pid 1 default", exitUsage, "--pid and --all exclude each other, want one of --unit, --pid, --cgroup and --all"},
		{"--unit x --cgroup= default", exitUsage, "--cgroup and --unit exclude each other"},
		{"--all --follow default", exitUsage, "--follow waits for a name that comes back, want --unit or --cgroup with it"},
		{"--all idle=0", exitUsage, "idle is 0, want a value, or none to leave it to the program"},
		{"--all idle=10h", exitUsage, "Idle is 10h0m0s, want 1s to"},
		{"--cgroup / default", exitProblem, "cgroup /: it is the root, which holds every process, want --all for that"},
		{"--cgroup . default", exitProblem, "cgroup .: it is neither absolute nor a directory of cgroup v2"},
		{"--cgroup ../.. default", exitProblem, "cgroup ../..: it is neither absolute nor a directory of cgroup v2"},
		{"--cgroup /nonesuch default", exitProblem, "cgroup /nonesuch: it does not exist, want a directory of cgroup v2, or a path as in /proc/PID/cgroup"},
		{"--cgroup /etc default", exitProblem, "cgroup /etc: it is not of cgroup v2, want a directory of cgroup v2"},
		{"--cgroup= default", exitProblem, "the path of the cgroup is empty"},
		{"--cgroup /etc/passwd default", exitProblem, "cgroup /etc/passwd: it is not of cgroup v2"},
		{"--pid 0 default", exitUsage, "--pid is 0, want the id of a process that runs"},
		{"--pid= default", exitUsage, `--pid is "", want a whole number`},
		{"--pid abc default", exitUsage, `--pid is "abc", want a whole number`},
		{"--pid 2000000000 default", exitProblem, "there is no process 2000000000"},
		{"--unit nonesuch default", exitProblem, "unit nonesuch.service has no group of cgroup v2: it is not running"},
	} {
		j := start(t, command(t, append([]string{"attach"}, strings.Fields(tt.args)...)...))
		assert.Empty(t, j.rest(t))
		assert.Equal(t, tt.code, j.end(t).ExitStatus(), tt.args)
		assert.Contains(t, j.stderr.String(), tt.want)
	}
}

// inNamespaceOf has a command run in the group, in a cgroup namespace whose root
// it is.
func inNamespaceOf(t testing.TB, g *cgroup.Group, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	cmd.Args = append([]string{"unshare", "-C", "-m", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/usr/bin/unshare"
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cgrouptest.Start(t, g, cmd)
	cmd.Wait()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// node is a group with groups as systemd makes them on the node of a cluster, each
// with a process, and one process of its own, as all that a machine with cgroup v1
// has in the root of cgroup v2.
func node(t testing.TB) (g *cgroup.Group, pids map[string]int) {
	t.Helper()
	g = cgrouptest.New(t)
	root, err := os.Readlink(fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, g).Fd()))
	require.NoError(t, err)
	pids = make(map[string]int)
	for _, name := range []string{"", service, container} {
		require.NoError(t, os.MkdirAll(root+name, 0o755))
		group, err := cgroup.Open(root + name)
		require.NoError(t, err)
		t.Cleanup(func() { group.Close() })
		cmd := exec.Command("sleep", "300")
		cgrouptest.Start(t, group, cmd)
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		pids[name] = cmd.Process.Pid
	}
	return g, pids
}

const (
	service   = "/system.slice/redis-server.service"
	pod       = "/kubepods.slice/kubepods-pod1.slice"
	container = pod + "/cri-containerd-2.scope"
)

// What is selected is printed, and with --dry-run nothing is set.
func TestAttachDryRun(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	g, pids := node(t)
	for args, want := range map[string]string{
		"--unit redis-server":                 service + ": 1 process, 0 open connections.\n",
		"--unit kubepods-pod1.slice":          pod + ": 1 process, 0 open connections.\n",
		fmt.Sprint("--pid ", pids[container]): container + ": 1 process, 0 open connections.\n",
		"--cgroup " + pod:                     pod + ": 1 process, 0 open connections.\n",
		"--all":                               "/: 4 processes, 0 open connections.\n",
	} {
		out, said, code := inNamespaceOf(t, g, command(t, append(strings.Fields("attach --dry-run idle=61s"), strings.Fields(args)...)...))
		assert.Equal(t, want, out, args)
		assert.Zero(t, code, said)
	}

	program := start(t, exec.Command(testprogram, "lines", "-tcp"))
	before := connections(t, program)
	j := start(t, command(t, "attach", "--dry-run", "--pid", fmt.Sprint(program.Process.Pid), enforced))
	assert.Equal(t, program.group.Path()+": 1 process, 2 open connections.\n", j.rest(t))
	assert.Zero(t, j.end(t))
	assert.Equal(t, before, connections(t, program)[:2])
}

// In a container the root is that of its cgroup namespace, and no path leads there
// either.
func TestAttachNeverTakesTheRoot(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	g, pids := node(t)
	for _, flag := range []string{
		"--cgroup=/", "--cgroup=//", "--cgroup=.", "--cgroup=./", "--cgroup=..", "--cgroup=../..", "--cgroup=tmp", "--cgroup=/.", "--cgroup=/..",
		"--cgroup=" + service + "/../..", "--cgroup=", "--unit=-.slice", "--unit=", fmt.Sprint("--pid=", pids[""]),
	} {
		out, said, code := inNamespaceOf(t, g, command(t, "attach", "--dry-run", "idle=61s", flag))
		assert.Empty(t, out, flag)
		assert.Equal(t, exitProblem, code, "%s: %s", flag, said)
	}
}
