package e2e_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
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
			for range 3 {
				j.line(t)
			}
			assert.Equal(t, []string{want, want, want, want}, connections(t, program))
		})
	}
}

// A group that is removed and made again is another one.
func TestAttachToRemovedGroup(t *testing.T) {
	t.Parallel()
	group, err := cgrouptest.New(t).New()
	require.NoError(t, err)
	j := start(t, attaching(t, group, enforced))
	require.Contains(t, j.line(t), "until this command ends")
	require.NoError(t, group.Remove())
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitWanting, j.end(t).ExitStatus())
	assert.Equal(t, fmt.Sprintf("keepalive: cgroup %s has been removed, as when its service stops: attach again when it is back\n", group.Path()), j.stderr.String())
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
	require.Contains(t, j.line(t), "until this command ends")
	await(t, func() bool { return strings.Contains(j.stderr.String(), "it takes CAP_SYS_PTRACE") })
	lines := connections(t, program)
	assert.Contains(t, lines[0], gos)
	assert.Contains(t, lines[1], gos)
	assert.Equal(t, []string{enforced + " false", enforced + " false"}, lines[2:])
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	assert.Contains(t, j.rest(t), "Stopped")
	assert.Equal(t, exitWanting, j.end(t).ExitStatus())
}

func TestAttachRefused(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	group := cgrouptest.New(t)
	j := startIn(t, group, asNobody(attaching(t, group, enforced)))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitWanting, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "this process lacks CAP_BPF and CAP_NET_ADMIN")
}

func TestAttachUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"default", exitUsage, `"cgroup" not set`},
		{"--cgroup /", exitUsage, "accepts 1 arg(s)"},
		{"--cgroup / idle=0", exitUsage, "idle is 0, want a value, or none to leave it to the program"},
		{"--cgroup / idle=10h", exitUsage, "Idle is 10h0m0s, want 1s to"},
		{"--cgroup /nonesuch default", exitWanting, "cgroup /nonesuch: it does not exist, want a directory of cgroup v2, or what systemctl show --value -p ControlGroup UNIT prints"},
		{"--cgroup /etc default", exitWanting, "cgroup /etc: it is not of cgroup v2, want a directory of cgroup v2, or what systemctl show --value -p ControlGroup UNIT prints"},
		{"--cgroup= default", exitWanting, "the path of the cgroup is empty, as systemctl shows that of a unit that is not running"},
		{"--cgroup /etc/passwd default", exitWanting, "cgroup /etc/passwd: it is not of cgroup v2"},
	} {
		j := start(t, command(t, append([]string{"attach"}, strings.Fields(tt.args)...)...))
		assert.Empty(t, j.rest(t))
		assert.Equal(t, tt.code, j.end(t).ExitStatus(), tt.args)
		assert.Contains(t, j.stderr.String(), tt.want)
	}
}
