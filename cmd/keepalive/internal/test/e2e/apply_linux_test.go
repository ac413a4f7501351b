package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// A machine is a group whose connections keepalive apply holds to rules, as if it were
// the root.
type machine struct {
	top    *cgroup.Group
	dir    string // of the rules
	notify *net.UnixConn
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	cgrouptest.NeedMount(t)
	cgrouptest.NeedRules(t)
	m := &machine{top: cgrouptest.New(t)}
	var err error
	m.dir, err = os.MkdirTemp(public, "rules") // which every user may read
	require.NoError(t, err)
	require.NoError(t, os.Chmod(m.dir, 0o755))
	socket := filepath.Join(m.dir, "notify")
	m.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
	require.NoError(t, err)
	t.Cleanup(func() { m.notify.Close() })
	require.NoError(t, os.Chmod(socket, 0o777))
	return m
}

// write writes the rules.
func (m *machine) write(t testing.TB, rules ...string) {
	t.Helper()
	text := "rules:\n"
	for _, r := range rules {
		text += "  - " + r + "\n"
	}
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "rules.yaml"), []byte(text), 0o644))
}

// command prepares keepalive apply.
func (m *machine) command(t testing.TB, flags ...string) *exec.Cmd {
	t.Helper()
	cmd := command(t, append([]string{"apply", "--cgroup-root", m.top.DirectoryName(), m.dir}, flags...)...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.notify.LocalAddr().String())
	return cmd
}

// apply runs keepalive apply until the rules are in force. It is in a group beside
// those of the machine.
func (m *machine) apply(t testing.TB, flags ...string) *job {
	t.Helper()
	return m.start(t, m.command(t, flags...))
}

func (m *machine) start(t testing.TB, cmd *exec.Cmd) *job {
	t.Helper()
	j := start(t, cmd)
	m.await(t, j, "READY=1")
	return j
}

// await waits for what it tells the service manager.
func (m *machine) await(t testing.TB, j *job, want string) (said string) {
	t.Helper()
	require.NoError(t, m.notify.SetReadDeadline(time.Now().Add(time.Minute)))
	text := make([]byte, 1024)
	n, err := m.notify.Read(text)
	require.NoError(t, err, "%s", j.stderr.String())
	require.True(t, bytes.HasPrefix(text[:n], []byte(want)), "%s", text[:n])
	return string(text[:n])
}

// reload has it read the rules again.
func (m *machine) reload(t testing.TB, j *job) {
	t.Helper()
	require.NoError(t, j.Process.Signal(unix.SIGHUP))
	m.await(t, j, "RELOADING=1\nMONOTONIC_USEC=")
	m.await(t, j, "READY=1")
}

// group makes a group of the machine.
func (m *machine) group(t testing.TB, path string) *cgroup.Group {
	t.Helper()
	dir := filepath.Join(m.top.DirectoryName(), path)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	g, err := cgroup.OpenTop(dir)
	require.NoError(t, err)
	t.Cleanup(func() { g.Close() })
	return g
}

// lines starts testprogram's lines in a group.
func (m *machine) lines(t testing.TB, path string) *job {
	t.Helper()
	return startIn(t, m.group(t, path), exec.Command(testprogram, "lines", "-tcp"))
}

const (
	untouchedGo = gos
	tightened   = "idle=15s,interval=5s,count=12" // of Go's with 60/5/3
)

// holds asserts what all connections of a program hold, of which there is one more.
func holds(t testing.TB, j *job, want string) {
	t.Helper()
	for _, line := range connections(t, j) {
		assert.Equal(t, want+" false", line)
	}
}

// Connections that are open are set once, those that come hold the rule of their
// group, and when apply ends all stay as they are.
func TestApply(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first, second, nested := m.lines(t, "first"), m.lines(t, "second"), m.lines(t, "first/nested/deep")
	programs := []*job{first, second, nested}
	for _, p := range programs {
		holds(t, p, untouchedGo)
	}
	m.write(t,
		"{cgroup: /first/nested/*, policy: 'idle=50s'}",
		"{cgroup: /f*, policy: '"+enforced+"'}",
		"{policy: 'idle=60s,interval=5s,count=3'}")
	j := m.apply(t)
	want := []string{enforced, tightened, "idle=50s,interval=15s,count=9"}
	for i, p := range programs {
		holds(t, p, want[i])
	}
	late := m.lines(t, "first/late")
	awaitHeld(t, late, enforced)
	holds(t, late, enforced)
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	m.await(t, j, "STOPPING=1")
	assert.Equal(t, "In force: 3 rules, in 5 control groups.\nStopped: connections keep what they hold, and new ones are the programs' own.\n", j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	for i, p := range programs {
		lines := connections(t, p)
		assert.Equal(t, slices.Repeat([]string{want[i] + " false"}, 4), lines[:4])
		assert.Equal(t, []string{untouchedGo + " false", untouchedGo + " false"}, lines[4:])
	}
}

// SIGHUP puts other rules in force, for connections that are open too. Mistakes leave
// the old ones in force.
func TestApplyReload(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{cgroup: /a, policy: '"+enforced+"'}")
	program := m.lines(t, "a") // first: apply has yet to notice a group that is new
	j := m.apply(t)
	holds(t, program, enforced)
	m.write(t, "{cgroup: /a, mode: tighten, policy: 'idle=60s,interval=5s,count=3'}")
	m.reload(t, j)
	holds(t, program, tightened)
	m.write(t, "{cgroup: /a, policy: 'idle=60s'}", "{cgroup: /a, policy: 'idle=50s'}")
	m.reload(t, j)
	await(t, func() bool { return strings.HasSuffix(j.stderr.String(), "\nThe old rules stay in force.\n") })
	assert.Contains(t, j.stderr.String(), "rules.yaml:3:5: the rule can never match: the rule at ")
	holds(t, program, tightened)
	m.write(t, "{cgroup: /b, policy: 'idle=60s'}")
	m.reload(t, j)
	holds(t, program, untouchedGo)
}

// While rules change 100 times, each of 10,000 connections holds one of two policies,
// when it is new and when it is open.
func TestApplyReloadUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	const other = "idle=31s,interval=4s,count=5,user_timeout=51s,max_rto=4s"
	policies := []string{enforced, other}
	m.write(t, "{cgroup: /a, policy: '"+enforced+"'}")
	program := startIn(t, m.group(t, "a"), exec.Command(testprogram, "storm", enforced, other))
	j := m.apply(t)
	storm := func() { fmt.Fprintln(program.in) }
	for i := range 100 {
		m.write(t, "{cgroup: /a, policy: '"+policies[(i+1)%2]+"'}")
		require.NoError(t, j.Process.Signal(unix.SIGHUP))
		storm()
		m.await(t, j, "RELOADING=1")
		m.await(t, j, "READY=1")
		require.True(t, strings.HasPrefix(program.line(t), "0 [] "))
	}
	// Those that waited to be accepted are looked at again.
	await(t, func() bool {
		storm()
		return program.line(t) == fmt.Sprintf("0 [] map[%s:1000]", enforced)
	})
}

// Killed, apply leaves nothing, unless the rules are pinned.
func TestApplyKilled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{cgroup: /a, policy: '"+enforced+"'}", "{policy: 'idle=60s,interval=5s,count=3'}")
	kill := func(j *job) {
		require.NoError(t, j.Process.Kill())
		j.Process.Wait()
	}
	pins := filepath.Join(cgrouptest.MountBPF(t), "keepalive")
	program := m.lines(t, "a")
	first := m.apply(t)
	out, err := m.command(t, "--pin", "--pin-dir", pins).CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "rules are in force already")
	kill(first)
	kill(m.apply(t, "--pin-dir", pins)) // which is empty
	lines := connections(t, program)
	assert.Equal(t, []string{untouchedGo + " false", untouchedGo + " false"}, lines)

	kill(m.apply(t, "--pin", "--pin-dir", pins))
	holds(t, program, enforced)
	between := m.lines(t, "a/made/meanwhile")
	holds(t, between, tightened)
	refused := command(t, "apply", "--cgroup-root", m.top.DirectoryName(), m.dir)
	out, err = refused.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "rules are in force already")
	out, err = command(t, "apply", "--cgroup-root", m.top.DirectoryName(), "--pin-dir", pins, m.dir).CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, "keepalive: rules are pinned in "+pins+": want --pin, or keepalive apply --remove before\n", string(out))

	j := m.apply(t, "--pin", "--pin-dir", pins)
	holds(t, program, enforced)
	holds(t, between, enforced)
	out, err = command(t, "apply", "--remove", "--pin-dir", pins).CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), "another keepalive apply has them: end it first")
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	assert.Contains(t, j.rest(t), "Stopped: the rules stay in force, until keepalive apply --remove.")
	holds(t, program, enforced)
	out, err = command(t, "apply", "--remove", "--pin-dir", pins).CombinedOutput()
	require.NoError(t, err, "%s", out)
	lines = connections(t, program)
	assert.Equal(t, []string{untouchedGo + " false", untouchedGo + " false"}, lines[len(lines)-2:])
	out, err = command(t, "apply", "--remove", "--pin-dir", pins).CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, "keepalive: nothing is pinned in "+pins+"\n", string(out))
}

// Groups come and go. What each makes at once holds its rule, long before apply looks
// at all groups, which it does once a minute.
func TestApplyGroupsComeAndGo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{cgroup: /service-*/deep, policy: '"+enforced+"'}", "{policy: 'idle=60s,interval=5s,count=3'}")
	j := m.apply(t)
	late := 0
	var times []time.Duration
	for i := range 500 {
		path := fmt.Sprintf("service-%d/deep", i)
		if i%10 > 0 { // without a program
			g := m.group(t, path)
			g.Close()
		} else {
			program := m.lines(t, path)
			lines := connections(t, program)
			began := time.Now()
			for !slices.Equal(lines, slices.Repeat([]string{enforced + " false"}, len(lines))) {
				late++
				lines = connections(t, program)
				require.Less(t, time.Since(began), 30*time.Second, "%v", lines)
			}
			times = append(times, time.Since(began))
			require.NoError(t, program.Process.Kill())
			program.Wait()
		}
		for _, dir := range []string{path, filepath.Dir(path)} {
			require.NoError(t, os.Remove(filepath.Join(m.top.DirectoryName(), dir)))
		}
	}
	slices.Sort(times)
	t.Logf("%d of 50 connections were set afterwards, in %v at most", late, times[len(times)-1])
	// What is gone is forgotten.
	last := m.lines(t, "last")
	holds(t, last, tightened)
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	j.rest(t)
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// opensEarly has a program connect before apply knows its group, and returns after
// what time that is set.
func (m *machine) opensEarly(t testing.TB, j *job, path string) time.Duration {
	t.Helper()
	require.NoError(t, j.Process.Signal(unix.SIGSTOP))
	await(t, func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", j.Process.Pid))
		require.NoError(t, err)
		return strings.Contains(string(status), "State:\tT")
	})
	early := m.lines(t, path)
	holds(t, early, untouchedGo)
	fds := tcpOf(t, early.Process.Pid)
	require.Len(t, fds, 2)
	began := time.Now()
	require.NoError(t, j.Process.Signal(unix.SIGCONT))
	for _, fd := range fds {
		require.Eventually(t, func() bool {
			idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
			return err == nil && idle == 61
		}, 30*time.Second, time.Millisecond)
	}
	took := time.Since(began)
	holds(t, early, enforced)
	return took
}

// tcpOf returns descriptors of the TCP sockets of a process, until the test ends.
func tcpOf(t testing.TB, pid int) (fds []int) {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	require.NoError(t, err)
	defer unix.Close(pidfd)
	for i := range 100 {
		fd, err := unix.PidfdGetfd(pidfd, i, 0)
		if err != nil {
			continue
		}
		t.Cleanup(func() { unix.Close(fd) })
		if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err == nil && protocol == unix.IPPROTO_TCP {
			fds = append(fds, fd)
		}
	}
	return fds
}

// What a group opens before apply knows it is set right afterwards, and not only when
// apply looks for connections that waited to be accepted.
func TestApplyEarlyConnections(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{cgroup: /*, policy: '"+enforced+"'}")
	j := m.apply(t)
	const lookAgain = time.Second // from when apply knows a group
	var times []time.Duration
	for i := range 5 {
		time.Sleep(lookAgain * 3 / 2) // until apply has looked again for what was before
		times = append(times, m.opensEarly(t, j, fmt.Sprint("early", i)))
	}
	slices.Sort(times)
	t.Logf("set after %v to %v", times[0], times[len(times)-1])
	assert.Less(t, times[len(times)/2], lookAgain)
	assert.Less(t, times[0], 100*time.Millisecond, "docs/apply.md: where apply gets a processor at once")
}

// Without a mistake --check prints how many rules there are, and --dry-run which rule
// each connection has. Nothing is set.
func TestApplyDryRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	program := m.lines(t, "a")
	holds(t, program, untouchedGo)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	m.write(t, "{cgroup: /a, policy: 'idle=60s,interval=5s,count=3', mode: tighten}")
	out, err := command(t, "apply", "--check", m.dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, "1 rule without a mistake.\n", string(out))
	out, err = m.command(t, "--dry-run").Output()
	require.NoError(t, err)
	found := 0
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, fmt.Sprintf("testprogram[%d] ", program.Process.Pid)) {
			found++
			assert.True(t, strings.HasSuffix(line, fmt.Sprintf(": %s/rules.yaml:2 (tighten): %s → %s\n", m.dir, untouchedGo, tightened)), line)
		}
	}
	assert.Equal(t, 2, found)
	assert.Regexp(t, `(?m) `+ln.Addr().String()+` .*: listens: each connection has a rule of its own$`, string(out))
	holds(t, program, untouchedGo)
	const inForce = "Rules are in force: what they have set is taken for what the programs want.\n"
	out, err = m.command(t, "--dry-run").CombinedOutput()
	require.NoError(t, err)
	assert.NotContains(t, string(out), inForce)
	m.apply(t)
	out, err = m.command(t, "--dry-run").CombinedOutput()
	require.NoError(t, err)
	assert.Contains(t, string(out), inForce)
}

// Four capabilities are enough, in network namespaces of others too. Without that for
// open connections new ones hold the rules all the same, and without one of the others
// apply says which one it lacks.
func TestApplyCapabilities(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{cgroup: /*, policy: '"+enforced+"'}")
	program := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up; exec "+testprogram+" lines -tcp")
	elsewhere := startIn(t, m.group(t, "elsewhere"), program)
	holds(t, elsewhere, untouchedGo)
	four := []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE}
	j := m.start(t, asNobody(m.command(t), four...))
	holds(t, elsewhere, enforced)
	m.opensEarly(t, j, "early")
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	m.await(t, j, "STOPPING=1")
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	other := m.lines(t, "other")
	holds(t, other, untouchedGo)
	j = m.start(t, asNobody(m.command(t), four[:3]...))
	lines := connections(t, other)
	assert.Equal(t, []string{untouchedGo + " false", untouchedGo + " false", enforced + " false", enforced + " false"}, lines)
	await(t, func() bool { return strings.Contains(j.stderr.String(), "CAP_SYS_PTRACE") })
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	m.await(t, j, "STOPPING=1")
	j.end(t)
	for i, lacks := range []string{"CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"} {
		rest := slices.Delete(slices.Clone(four), i, i+1)
		out, err := asNobody(m.command(t), rest...).CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(out), "this process lacks "+lacks)
		assert.NotContains(t, string(out), "rules.yaml", "it is no mistake of a rule")
	}
}

// It works in a container as that of examples/apply/kubernetes.yaml: root with four
// capabilities and a cgroup namespace of its own, to which the host's hierarchy is
// mounted so that it can only be read.
func TestApplyInContainer(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if os.Getuid() != 0 {
		netlab.Skip(t, errors.New("only root mounts"))
	}
	setpriv := netlab.LookPath(t, "setpriv")
	m.write(t, "{cgroup: /pod, policy: '"+enforced+"'}")
	program := m.lines(t, "pod")
	host := t.TempDir()
	cmd := m.command(t)
	cmd.Args = []string{"unshare", "--cgroup", "--mount", "sh", "-c", `mount --bind "$0" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"`,
		m.top.DirectoryName(), host, setpriv, "--bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_ptrace", "--inh-caps=-all",
		keepalivePath, "apply", "--cgroup-root", host, m.dir}
	cmd.Path = netlab.LookPath(t, "unshare")
	j := startIn(t, m.group(t, "container"), cmd)
	m.await(t, j, "READY=1")
	holds(t, program, enforced)
}

// What keepalive run sets in a group below comes first: tighten takes it for what the
// program wants, and set replaces it.
func TestApplyAndRun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{cgroup: /tighten, policy: 'idle=60s,interval=5s,count=3', mode: tighten}", "{cgroup: /set, policy: 'idle=60s,interval=5s,count=3'}")
	groups := []*cgroup.Group{m.group(t, "tighten"), m.group(t, "set")}
	m.apply(t)
	for _, g := range groups {
		j := startIn(t, g, running(t, enforced, testprogram, "lines"))
		const want = "idle=1m0s,interval=5s,count=3,user_timeout=1m21s,max_rto=3s"
		awaitHeld(t, j, want) // apply has yet to notice run's group
		holds(t, j, want)
		assert.Zero(t, j.end(t), "%s", j.stderr.String())
	}
}

// stopAll kills the processes of a group, and waits until none is left.
func stopAll(t testing.TB, g *cgroup.Group) {
	t.Helper()
	pids, err := g.Processes()
	require.NoError(t, err)
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGKILL)
	}
	require.NoError(t, g.Wait())
}
