package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// fallback is what run prints where it falls back.
const fallback = "keepalive run: eBPF is refused (operation not permitted), so it uses seccomp with no_new_privs: sudo and other set-user-ID programs run without their rights (--quiet hides this line)\n"

// seccomp runs a program by seccomp.
func seccomp(t testing.TB, policy string, program ...string) *exec.Cmd {
	t.Helper()
	return command(t, append([]string{"run", "--method=seccomp", policy, "--"}, program...)...)
}

// needSeccomp skips a test where no filter can be installed, or the policy of the
// tests is refused.
func needSeccomp(t testing.TB) {
	t.Helper()
	if out, err := seccomp(t, enforced, "true").CombinedOutput(); err != nil {
		netlab.Skip(t, fmt.Errorf("%w: %s", err, out))
	}
}

// alone starts a command in the group of the test.
func alone(t testing.TB, cmd *exec.Cmd) *job {
	t.Helper()
	return startIn(t, nil, cmd)
}

// withoutRights has a command run as nobody without a capability, whatever it
// executes.
func withoutRights(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd.Dir = "/"
	if os.Getuid() != 0 {
		return cmd
	}
	cmd.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = netlab.LookPath(t, "setpriv")
	return cmd
}

// python makes a connection to itself, and sets options of its own.
const python = `
import socket, sys
def own(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 7)
ln = socket.create_server(("127.0.0.1", 0))
own(ln)
c = socket.create_connection(ln.getsockname())
own(c)
s, _ = ln.accept()
own(s)
print("ready", flush=True)
sys.stdin.read()
`

const javascript = `
const net = require("net")
const ln = net.createServer({keepAlive: true, keepAliveInitialDelay: 77000}, s => console.log("ready"))
ln.listen(0, "127.0.0.1", () => {
  const c = net.connect({port: ln.address().port, keepAlive: true, keepAliveInitialDelay: 88000})
  c.setKeepAlive(false)
})
process.stdin.on("end", () => process.exit()).resume()
`

// Programs of all kinds hold the policy at both ends, whatever they set, without
// any right.
func TestSeccompPrograms(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	for name, program := range map[string]struct {
		argv    []string
		sockets int // a listening one and both ends, unless the program closes it
	}{
		"go":     {[]string{testprogram, "lines", "-own"}, 2},
		"python": {[]string{"python3", "-c", python}, 3},
		"node":   {[]string{"node", "-e", javascript}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			netlab.LookPath(t, program.argv[0])
			j := alone(t, withoutRights(t, command(t, append([]string{"run", enforced, "--"}, program.argv...)...)))
			if name == "go" {
				assert.Equal(t, []string{enforced + " false", enforced + " false"}, connections(t, j))
			} else {
				require.Equal(t, "ready", j.line(t))
			}
			held(t, children(t, j)[0], program.sockets)
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
			assert.Equal(t, refused(t), j.stderr.String())
		})
	}
}

// refused is what run prints about eBPF to who has no rights.
func refused(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	if !strings.Contains(string(mounts), " - cgroup2 ") {
		return strings.Replace(fallback, "eBPF is refused", "there is no cgroup v2 for eBPF", 1)
	}
	return fallback
}

// held asserts that the TCP sockets of a process without rights, as many as wanted,
// hold the policy.
func held(t testing.TB, process string, want int) {
	t.Helper()
	out, err := withoutRights(t, exec.Command(testprogram, "held", process)).CombinedOutput()
	require.NoError(t, err, "%s", out)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	assert.Len(t, lines, want)
	for _, line := range lines {
		assert.Equal(t, "1 61 7 4 81000 3000", line)
	}
}

// curl sets 60 s and 60 s by itself.
func TestSeccompCurl(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	netlab.LookPath(t, "curl")
	asked, answer := make(chan struct{}), make(chan struct{})
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, "answer\n")
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go server.Serve(ln)
	defer server.Close()
	j := alone(t, withoutRights(t, seccomp(t, enforced, "curl", "--silent", "--noproxy", "*", "http://"+ln.Addr().String())))
	select {
	case <-asked:
	case <-time.After(time.Minute):
		require.Fail(t, "curl does not connect", "%s", j.stderr.String())
	}
	held(t, children(t, j)[0], 1)
	close(answer)
	assert.Equal(t, "answer\n", j.rest(t))
	assert.Zero(t, j.end(t))
	assert.Empty(t, j.stderr.String(), "--method says what is used")
}

// Which method is used, and what run says about it.
func TestRunMethod(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	noNewPrivs := []string{"sh", "-c", `grep NoNewPrivs /proc/self/status | cut -f2`}
	for _, tt := range []struct {
		flags      []string
		rights     bool
		out, error string
	}{
		{nil, true, "0\n", ""},
		{[]string{"--method=ebpf"}, true, "0\n", ""},
		{[]string{"--method=seccomp"}, true, "1\n", ""},
		{nil, false, "1\n", refused(t)},
		{[]string{"--quiet"}, false, "1\n", ""},
		{[]string{"--method", "seccomp"}, false, "1\n", ""},
	} {
		t.Run(fmt.Sprint(tt.flags, tt.rights), func(t *testing.T) {
			t.Parallel()
			cmd := command(t, append(append(append([]string{"run"}, tt.flags...), "default", "--"), noNewPrivs...)...)
			var j *job
			if tt.rights {
				j = start(t, cmd)
			} else {
				j = alone(t, withoutRights(t, cmd))
			}
			assert.Equal(t, tt.out, j.rest(t))
			assert.Zero(t, j.end(t))
			assert.Equal(t, tt.error, j.stderr.String())
		})
	}
}

// Errors of eBPF that are not about rights stay errors.
func TestRunFallsBackForRightsOnly(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	cgrouptest.Need(t)
	const bpf = unix.SYS_BPF
	for errno, want := range map[unix.Errno]int{unix.EPERM: 0, unix.ENOSYS: exitFailed, unix.EINVAL: exitFailed} {
		j := start(t, anything.refusing(bpf, errno).under(t, command(t, "run", "--quiet", "default", "--", "true")))
		assert.Equal(t, want, j.end(t).ExitStatus(), "%v: %s", errno, j.stderr.String())
	}
}

// System calls about TCP sockets return what they return without run: the lowest
// free descriptor, flags, errors, the limit of open files, and the user of the
// socket.
func TestSeccompSameCalls(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	calls := func(cmd *exec.Cmd) string {
		j := alone(t, cmd)
		defer j.end(t)
		return j.rest(t)
	}
	limited := func(cmd *exec.Cmd) *exec.Cmd { // Go's runtime raises the soft limit
		cmd.Args = append([]string{"sh", "-c", `ulimit -Sn 200; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		return cmd
	}
	for name, prepare := range map[string]func(*exec.Cmd) *exec.Cmd{
		"own user": limited,
		"nobody":   func(cmd *exec.Cmd) *exec.Cmd { return withoutRights(t, limited(cmd)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := calls(prepare(exec.Command(testprogram, "calls")))
			assert.Contains(t, direct, "descriptor -1 too many open files\n")
			assert.Equal(t, direct, calls(prepare(seccomp(t, enforced, testprogram, "calls"))))
		})
	}
}

// What the policy leaves out is the program's own.
func TestSeccompLeavesTheRest(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	for policy, want := range map[string]string{
		"idle=1m1s":   "idle=1m1s,interval=16s,count=17",
		"off,count=5": "off,idle=15s,interval=16s,count=5",
	} {
		j := alone(t, seccomp(t, policy, testprogram, "pair", "-own"))
		assert.Equal(t, both(want, false), j.rest(t))
		assert.Zero(t, j.end(t), "%s", j.stderr.String())
	}
}

// Programs fall back from MPTCP, unless it is allowed and the policy is one that
// MPTCP can hold.
func TestSeccompMPTCP(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	for _, tt := range []struct {
		flags []string
		held  string
		mptcp bool
	}{
		{nil, enforced, false},
		{[]string{"--allow-mptcp"}, enforced, false}, // MPTCP lacks user_timeout
		{[]string{"--allow-mptcp"}, "idle=1m1s,interval=7s,count=4", true},
	} {
		t.Run(fmt.Sprint(tt.flags, tt.mptcp), func(t *testing.T) {
			t.Parallel()
			if tt.mptcp {
				netlab.SkipBefore(t, 6, 10, "TCP_KEEPIDLE of MPTCP")
			}
			j := alone(t, command(t, append(append([]string{"run", "--method=seccomp"}, tt.flags...), tt.held, "--", testprogram, "pair", "-mptcp")...))
			assert.Equal(t, both(tt.held, tt.mptcp), j.rest(t))
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
		})
	}
}

// A socket belongs to the user that the program has become, with --user and by
// itself.
func TestSeccompUser(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needRoot(t)
	cmd := command(t, "run", "--method=seccomp", "--user", "nobody", enforced, "--", "sh", "-c", `id -un; exec "$0" calls | tail -1`, testprogram)
	cmd.Dir = "/"
	j := alone(t, cmd)
	assert.Equal(t, "nobody\nuid 65534\n", j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	j = alone(t, seccomp(t, enforced, testprogram, "become", "4711"))
	assert.Equal(t, "uid 4711\n"+both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Empty(t, j.stderr.String())
}

// A thread that has entered another network namespace gets a socket of that one:
// guarded where run may enter it too.
func TestSeccompNamespace(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needRoot(t)
	needUnshare(t, "-n")
	j := alone(t, seccomp(t, enforced, testprogram, "namespace"))
	assert.Equal(t, "new true 61\nold true 61\n", j.rest(t))
	assert.Zero(t, j.end(t))
	assert.Empty(t, j.stderr.String())
}

// Where run may not enter it, the socket is the program's own.
func TestSeccompNamespaceOfNobody(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needUnshare(t, "-Urn")
	j := alone(t, withoutRights(t, seccomp(t, enforced, "unshare", "-Urn", testprogram, "namespace")))
	out := j.rest(t)
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Regexp(t, `^new true \d+\nold true \d+\n$`, out)
	assert.NotContains(t, out, "61")
	const why = "not guarded: it is in another network namespace, which keepalive may not enter\n"
	assert.Equal(t, "keepalive run: testprogram has a socket that is "+why+"keepalive run: 2 sockets were "+why, j.stderr.String())
}

// What run says is not worth a program: where nobody can read standard error, or
// nobody does, the program runs and ends as without.
func TestSeccompNobodyReads(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needUnshare(t, "-Urn")
	for name, prepare := range map[string]func(r, w *os.File){
		"closed": func(r, _ *os.File) { r.Close() },
		"full": func(_, w *os.File) {
			conn, err := w.SyscallConn()
			require.NoError(t, err)
			require.NoError(t, conn.Write(func(fd uintptr) bool {
				unix.Write(int(fd), make([]byte, 1<<20))
				return true
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer r.Close()
			defer w.Close()
			prepare(r, w)
			cmd := withoutRights(t, running(t, enforced, "unshare", "-Urn", "sh", "-c", `"$0" namespace; exit 7`, testprogram))
			cmd.Stderr = w
			out, err := cmd.Output()
			assert.ErrorContains(t, err, "exit status 7")
			assert.Regexp(t, `^new true \d+\nold true \d+\n$`, string(out))
		})
	}
}

// A program that moves to another control group has sockets of that group, which
// are its own, as with eBPF.
func TestSeccompGroup(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	cgrouptest.NeedMount(t)
	elsewhere := cgrouptest.New(t)
	dir, err := os.Readlink(fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, elsewhere).Fd()))
	require.NoError(t, err)
	script := fmt.Sprintf(`%s pair && echo $$ >%s/cgroup.procs && %[1]s pair -own && exit 7`, testprogram, dir)
	j := start(t, seccomp(t, enforced, "sh", "-c", script))
	assert.Equal(t, both(enforced, false), j.line(t)+"\n"+j.line(t)+"\n")
	for line := range strings.Lines(j.rest(t)) {
		assert.NotContains(t, line, "1m1s")
	}
	assert.Equal(t, 7, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "testprogram has a socket that is not guarded: it is in another control group\n")
}

// A socket belongs to the group that the program is in: an eBPF policy on the
// group applies to it.
func TestSeccompInGroup(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	cgrouptest.Need(t)
	inner := seccomp(t, "count=4", testprogram, "pair")
	j := start(t, running(t, "idle=1m1s", inner.Args...))
	assert.Equal(t, both("idle=1m1s,interval=15s,count=4", false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// Run with eBPF moves the program to a group of its own. Sockets there are not those
// of a run with seccomp around it, which says so.
func TestRunInSeccomp(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	cgrouptest.Need(t)
	inner := running(t, "idle=30s,interval=9s,count=3", testprogram, "pair")
	j := start(t, seccomp(t, "idle=1m1s", inner.Args...))
	assert.Equal(t, both("idle=30s,interval=9s,count=3", false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Contains(t, j.stderr.String(), "testprogram has a socket that is not guarded: it is in another control group\n")
}

// Of two filters that notify, the kernel takes one.
func TestSeccompInSeccomp(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	inner := seccomp(t, enforced, "echo", "started")
	j := alone(t, seccomp(t, enforced, inner.Args...))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "keepalive run: seccomp: device or resource busy: this process runs under another keepalive run")
}

// A program of another ABI gets no TCP socket, and run says so. It gets others.
func TestSeccompForeign(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	if runtime.GOARCH != "amd64" {
		netlab.Skip(t, errors.New("this machine executes no program of another ABI"))
	}
	program := filepath.Join(public, "testprogram386")
	build := exec.Command("go", "build", "-o", program, "../../programs/testprogram")
	build.Env = append(os.Environ(), "GOARCH=386", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	const said = "keepalive run: testprogram386 gets no TCP socket (ENOSYS): it uses the system calls of another ABI"
	if err := exec.Command(program, "udp").Run(); err == nil { // not every virtual machine has it
		j := alone(t, seccomp(t, enforced, program, "pair"))
		assert.Empty(t, j.rest(t))
		assert.Equal(t, 1, j.end(t).ExitStatus())
		assert.Contains(t, j.stderr.String(), said)
		assert.Contains(t, j.stderr.String(), "function not implemented")

		j = alone(t, seccomp(t, enforced, program, "udp"))
		assert.Zero(t, j.end(t))
		assert.Empty(t, j.stderr.String())
	}
	j := alone(t, seccomp(t, enforced, testprogram, "x32"))
	assert.Equal(t, "function not implemented\n", j.rest(t))
	assert.Zero(t, j.end(t))
	assert.Contains(t, j.stderr.String(), strings.ReplaceAll(said, "testprogram386", "testprogram"))
}

// When run is killed, the program gets SIGTERM. If it goes on, it can make no TCP
// socket, and no call hangs. Its connections stay.
func TestSeccompKilled(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	const script = `trap "echo got it; got=1" TERM; echo ready; while [ -z "$got" ]; do sleep 0.1; done; "$0" pair; echo $?`
	j := alone(t, hearing(seccomp(t, enforced, "sh", "-c", script, testprogram)))
	require.Equal(t, "ready", j.line(t))
	require.NoError(t, j.Process.Kill())
	// Once for each thread of run that becomes its parent and ends, whenever that is.
	assert.Regexp(t, `^(got it\n)+1\n(got it\n)*$`, j.rest(t))
	j.Wait() // for what it has written to standard error
	assert.Contains(t, j.stderr.String(), "socket: function not implemented")

	j = alone(t, hearing(seccomp(t, enforced, testprogram, "signals", "1")))
	require.Equal(t, "ready", j.line(t))
	require.NoError(t, j.Process.Kill())
	assert.Equal(t, strconv.Itoa(int(unix.SIGTERM)), j.line(t))
}

// A hundred thousand sockets of threads that signals interrupt all the time hold
// the policy, and none is left over.
func TestSeccompStress(t *testing.T) { // not parallel: others look at the clock
	needSeccomp(t)
	j := alone(t, seccomp(t, enforced, testprogram, "stress", "-sockets", "100000"))
	require.Equal(t, "done", j.line(t), "%s", j.stderr.String())
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", j.Process.Pid))
	require.NoError(t, err)
	for _, link := range links {
		target, err := os.Readlink(link)
		require.NoError(t, err)
		assert.False(t, strings.HasPrefix(target, "socket:"), target)
	}
	assert.Less(t, len(links), 400)
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Empty(t, j.stderr.String())
}

// Root of a user namespace has no rights for eBPF.
func TestSeccompInUserNamespace(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needUnshare(t, "-Ur")
	cmd := running(t, enforced, "sh", "-c", `"$0" calls | tail -1; exec "$0" pair`, testprogram)
	cmd.Args = append([]string{"unshare", "-Ur"}, cmd.Args...)
	cmd.Path = netlab.LookPath(t, "unshare")
	j := alone(t, withoutRights(t, cmd))
	assert.Equal(t, "uid 0\n"+both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Equal(t, refused(t), j.stderr.String())
}

// While run is stopped, socket(2) waits. However often that happens, no descriptor
// is wrong.
func TestSeccompStopped(t *testing.T) { // not parallel: others look at the clock
	needSeccomp(t)
	j := alone(t, seccomp(t, enforced, testprogram, "stress", "-threads", "8", "-sockets", "8000"))
	done := make(chan string)
	go func() {
		line, _ := j.out.ReadString('\n')
		done <- line
	}()
	for {
		require.NoError(t, j.Process.Signal(unix.SIGSTOP))
		time.Sleep(time.Millisecond)
		require.NoError(t, j.Process.Signal(unix.SIGCONT))
		select {
		case line := <-done:
			assert.Equal(t, "done\n", line, "%s", j.stderr.String())
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// A hundred programs at once.
func TestSeccompCrowd(t *testing.T) { // not parallel: others look at the clock
	needSeccomp(t)
	script := `for i in $(seq 100); do "$0" pair & done; wait`
	j := alone(t, seccomp(t, enforced, "sh", "-c", script, testprogram))
	assert.Equal(t, strings.Repeat(both(enforced, false), 100), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			out, err := seccomp(t, enforced, testprogram, "pair").CombinedOutput()
			assert.NoError(t, err)
			assert.Equal(t, both(enforced, false), string(out))
		})
	}
	all.Wait()
}

// A program that forks and executes others all the time, which make sockets.
func TestSeccompForks(t *testing.T) { // not parallel: others look at the clock
	needSeccomp(t)
	const script = `i=0; while [ $i -lt 1500 ]; do /bin/true && "$0" stress -threads 1 -sockets 1 </dev/null || exit; i=$((i+1)); done`
	j := alone(t, seccomp(t, enforced, "sh", "-c", script, testprogram))
	assert.Equal(t, strings.Repeat("done\n", 1500), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Empty(t, j.stderr.String())
}

// Where run itself can open few files, every socket holds the policy all the same.
func TestSeccompFewFiles(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	cmd := seccomp(t, enforced, testprogram, "stress", "-threads", "10", "-sockets", "200")
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 24; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	j := alone(t, cmd)
	assert.Equal(t, "done", j.line(t), "%s", j.stderr.String())
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Empty(t, j.stderr.String())
}

// A listener that the program inherits has the policy, and so have the connections
// that it accepts, whatever the program sets.
func TestSeccompInheritedListener(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	var lc net.ListenConfig
	lc.KeepAlive = -1
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	cmd := seccomp(t, enforced, testprogram, "inherited")
	cmd.ExtraFiles = []*os.File{file}
	j := alone(t, cmd)
	assert.Equal(t, both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// The kernel does not ask the filter about sockets that io_uring makes.
func TestSeccompIOUring(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	j := alone(t, seccomp(t, enforced, testprogram, "iouring"))
	out := j.rest(t)
	if j.end(t).ExitStatus() != 0 {
		netlab.Skip(t, fmt.Errorf("%s", j.stderr.String()))
	}
	assert.Regexp(t, `^SO_KEEPALIVE 0 TCP_KEEPIDLE \d{3,}\n$`, out)
}

// Neither does it ask about options that io_uring sets.
func TestSeccompIOUringSets(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	netlab.SkipBefore(t, 6, 7, "SOCKET_URING_OP_SETSOCKOPT")
	j := alone(t, seccomp(t, enforced, testprogram, "uringset"))
	out := j.rest(t)
	if j.end(t).ExitStatus() != 0 {
		netlab.Skip(t, fmt.Errorf("%s", j.stderr.String()))
	}
	assert.Equal(t, "77\n", out)
}

// Docker's default profile lets all of it pass.
func TestSeccompInDocker(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	profile := docker(t)
	container := profile.filter(t)
	j := alone(t, withoutRights(t, container.under(t, running(t, enforced, testprogram, "pair", "-own"))))
	assert.Equal(t, both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	assert.Equal(t, refused(t), j.stderr.String())
}

// Before Linux 5.19 the program's own sockets are set when they connect or listen.
func TestSeccompBefore519(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	j := alone(t, withoutRights(t, anything.before519().under(t, seccomp(t, enforced, testprogram, "pair", "-own"))))
	out := j.rest(t)
	if strings.Contains(j.stderr.String(), "operation not permitted") {
		netlab.Skip(t, fmt.Errorf("pidfd_getfd: %w", os.ErrPermission))
	}
	assert.Equal(t, both(enforced, false), out)
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	profile := docker(t)
	for name, f := range map[string]filter{
		"pidfd_getfd(2), which is refused: operation not permitted": profile.filter(t).before519(),
		"it takes Linux 5.6": anything.before519().refusing(unix.SYS_PIDFD_GETFD, unix.ENOSYS),
	} {
		j := alone(t, f.under(t, seccomp(t, enforced, "echo", "started")))
		assert.Empty(t, j.rest(t))
		assert.Equal(t, exitFailed, j.end(t).ExitStatus())
		assert.Contains(t, j.stderr.String(), name)
	}
}

// A thread may have descriptors of its own. Before Linux 5.19 run can't get at
// them: it says so, and leaves alone what the process has at the same number.
func TestSeccompUnsharedDescriptors(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	j := alone(t, seccomp(t, enforced, testprogram, "unshared"))
	assert.Equal(t, "61\n61\n61\n", j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	needPidfdGetfd(t)
	j = alone(t, anything.before519().under(t, seccomp(t, enforced, testprogram, "unshared")))
	out := j.rest(t)
	assert.Zero(t, j.end(t))
	assert.Regexp(t, `^\d+\n\d+\n\d+\n$`, out)
	assert.NotContains(t, out, "61")
	const why = "not guarded: its thread does not share the descriptors of its process\n"
	assert.Equal(t, "keepalive run: testprogram has a socket that is "+why+"keepalive run: 2 sockets were "+why, j.stderr.String())
}

// Where seccomp(2) is refused too, nothing is left.
func TestSeccompRefused(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	j := alone(t, anything.refusing(unix.SYS_SECCOMP, unix.EPERM).under(t, seccomp(t, enforced, "echo", "started")))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Equal(t, "keepalive run: seccomp: operation not permitted: the seccomp filter of a container or a unit is in the way\n", j.stderr.String())
}

// As the first process of a PID namespace run needs /proc of that.
func TestSeccompAsFirstProcess(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needUnshare(t, "-pf", "--mount-proc")
	first := func(flags ...string) *job {
		cmd := seccomp(t, "default", "sh", "-c", "kill -TERM $$")
		cmd.Args = slices.Concat([]string{"unshare"}, flags, cmd.Args)
		cmd.Path = netlab.LookPath(t, "unshare")
		return alone(t, cmd)
	}
	j := first("-pf", "--mount-proc")
	assert.Equal(t, 128+int(unix.SIGTERM), j.end(t).ExitStatus(), "%s", j.stderr.String())
	j = first("-pf")
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "/proc is not that of the PID namespace of this process")
}

// Run is the parent of what the program leaves behind, without a group of its own.
func TestSeccompMakesNoGroup(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	j := start(t, seccomp(t, "default", "sh", "-c", "echo ready; cat"))
	require.Equal(t, "ready", j.line(t))
	assert.Empty(t, below(t, j.group))
	j.in.Close()
	assert.Equal(t, syscall.WaitStatus(0), j.end(t))
}
