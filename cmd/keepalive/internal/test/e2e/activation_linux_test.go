package e2e_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// activated has a command find itself in LISTEN_PID, as with systemd.
func activated(cmd *exec.Cmd) *exec.Cmd {
	const script = `LISTEN_PID=$$ LISTEN_PIDFDID=1 LISTEN_FDS=1 LISTEN_FDNAMES=web exec "$0" "$@"`
	cmd.Args = append([]string{"sh", "-c", script, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	return cmd
}

// The program finds itself in LISTEN_PID, and all else as without run.
func TestRunActivated(t *testing.T) { eachMethod(t, testRunActivated) }

func testRunActivated(t *testing.T, running runner) {
	t.Parallel()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	const script = `test "$LISTEN_PID" = $$ && echo "$0 $1 $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PIDFDID" && echo three >&3 && exec ls /proc/self/fd`
	cmd := activated(running(t, "default", "sh", "-c", script, "name", "argument"))
	cmd.ExtraFiles = []*os.File{w}
	j := start(t, cmd)
	direct := exec.Command("ls", "/proc/self/fd")
	direct.ExtraFiles = []*os.File{w}
	same := start(t, direct)
	w.Close()
	assert.Equal(t, "name argument 1 web \n"+same.rest(t), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	three, err := io.ReadAll(r)
	assert.NoError(t, err)
	assert.Equal(t, "three\n", string(three))
}

// Sockets of another process stay its own.
func TestRunNotActivated(t *testing.T) { eachMethod(t, testRunNotActivated) }

func testRunNotActivated(t *testing.T, running runner) {
	t.Parallel()
	cmd := running(t, "default", "sh", "-c", "echo $LISTEN_PID $LISTEN_PIDFDID")
	cmd.Env = append(cmd.Env, "LISTEN_PID=1", "LISTEN_PIDFDID=2")
	j := start(t, cmd)
	assert.Equal(t, "1 2\n", j.rest(t))
	assert.Zero(t, j.end(t))
}

// A program that is activated holds the policy, ends as it ends, ignores the
// signals that its caller ignores, and blocks no other.
func TestRunActivatedProgram(t *testing.T) {
	t.Parallel()
	j := start(t, activated(running(t, enforced, testprogram, "pair")))
	assert.Equal(t, both(enforced, false), j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	masks := func(cmd *exec.Cmd) string {
		cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		j := start(t, cmd)
		defer j.end(t)
		return j.rest(t)
	}
	program := []string{"grep", "-E", "^Sig(Blk|Ign)|^Cap|^NoNewPrivs|^Seccomp", "/proc/self/status"}
	assert.Equal(t, masks(running(t, "default", program...)), masks(activated(running(t, "default", program...))))

	for _, s := range []syscall.Signal{unix.SIGQUIT, unix.SIGUSR1, unix.SIGTERM, 40} {
		j := start(t, hearing(activated(running(t, "default", "sh", "-c", "kill -"+strconv.Itoa(int(s))+" $$"))))
		assert.Equal(t, s, j.end(t).Signal())
		assert.Empty(t, j.stderr.String())
	}
}

func TestRunActivatedExitCode(t *testing.T) { eachMethod(t, testRunActivatedExitCode) }

func testRunActivatedExitCode(t *testing.T, running runner) {
	t.Parallel()
	interpreted := filepath.Join(t.TempDir(), "script")
	writeExecutable(t, interpreted, "#!/nonesuch/interpreter\n")
	for program, want := range map[string]struct {
		code int
		said string
	}{
		"true":              {0, ""},
		"sh -c exit\t7":     {7, ""},
		"/etc/passwd":       {exitNoExec, "keepalive run: /etc/passwd: permission denied\n"},
		interpreted:         {exitNoExec, "keepalive run: " + interpreted + ": no such file or directory\n"},
		"/nonesuch/program": {exitNotFound, "keepalive run: /nonesuch/program: no such file or directory\n"},
	} {
		for _, prepare := range []func(*exec.Cmd) *exec.Cmd{activated, hearing} {
			j := start(t, prepare(running(t, "default", strings.Split(program, " ")...)))
			assert.Equal(t, want.code, j.end(t).ExitStatus(), program)
			assert.Equal(t, want.said, j.stderr.String())
		}
	}
}

// Signals at any moment from the birth of the process on end a program that is
// activated, and none of them has Go print a stack trace.
func TestRunActivatedInterruptedEarly(t *testing.T) { eachMethod(t, testRunActivatedInterruptedEarly) }

func testRunActivatedInterruptedEarly(t *testing.T, running runner) {
	t.Parallel()
	for _, s := range []syscall.Signal{unix.SIGQUIT, unix.SIGUSR1, unix.SIGTERM} {
		for delay := time.Duration(0); delay < 20*time.Millisecond; delay += 2 * time.Millisecond {
			cmd := hearing(activated(running(t, "default", "sleep", "60")))
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			j := start(t, cmd)
			for giveUp := time.Now().Add(time.Minute); len(children(t, j)) == 0; runtime.Gosched() {
				require.True(t, time.Now().Before(giveUp), "%s", j.stderr.String())
			}
			time.Sleep(delay)
			require.NoError(t, j.Process.Signal(s))
			assert.Equal(t, s, j.end(t).Signal(), delay)
			assert.Empty(t, j.stderr.String())
		}
	}
}

// The program gets the rights that it would get without sockets, and no more where
// the file of keepalive gives rights. It is no shell, which would drop some.
func TestRunActivatedRights(t *testing.T) {
	t.Parallel()
	needRoot(t)
	netlab.LookPath(t, "setcap")
	rights := []string{"grep", "-E", "^(Uid|Gid|CapPrm|CapEff|CapAmb):", "/proc/self/status"}
	const (
		ids  = "Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\n"
		want = ids + "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\n"
	)
	cmd := command(t, append([]string{"run", "--user", "nobody", enforced, "--"}, rights...)...)
	cmd.Dir = "/"
	j := start(t, activated(cmd))
	assert.Equal(t, want, j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())

	group := owned(t)
	for name, grant := range map[string][]string{
		"activated set-user-ID":       {"chmod", "6755"},
		"activated file capabilities": {"setcap", "cap_bpf,cap_net_admin+ep"},
	} {
		gained := filepath.Join(public, name)
		require.NoError(t, exec.Command("cp", keepalivePath, gained).Run())
		out, err := exec.Command(grant[0], append(grant[1:], gained)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		cmd := running(t, enforced, rights...)
		cmd.Path = gained
		j := startIn(t, group, asNobody(activated(cmd)))
		assert.Equal(t, want, j.rest(t), name)
		assert.Zero(t, j.end(t), "%s: %s", name, j.stderr.String())
	}
}

// Run has to execute its own file as the user.
func TestRunActivatedRefused(t *testing.T) {
	t.Parallel()
	needRoot(t)
	private := filepath.Join(public, "private")
	out, err := exec.Command("install", "-m", "700", keepalivePath, private).CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := command(t, "run", "--user", "nobody", enforced, "--", "echo", "started")
	cmd.Path, cmd.Dir = private, "/"
	j := start(t, activated(cmd))
	assert.Empty(t, j.rest(t))
	assert.Equal(t, exitFailed, j.end(t).ExitStatus())
	assert.Equal(t, "keepalive run: LISTEN_PID can't be handed on: /proc/self/exe: permission denied\n", j.stderr.String())
}

// A program of systemd that takes its sockets by sd_listen_fds(3) finds them.
func TestRunSocketActivate(t *testing.T) { eachMethod(t, testRunSocketActivate) }

func testRunSocketActivate(t *testing.T, running runner) {
	t.Parallel()
	cgrouptest.Need(t)
	activate := netlab.LookPath(t, "systemd-socket-activate")
	proxy := netlab.LookPath(t, "/usr/lib/systemd/systemd-socket-proxyd")
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	path := filepath.Join(t.TempDir(), "socket")
	cmd := running(t, enforced, proxy, ln.Addr().String())
	cmd.Args = append([]string{activate, "--listen=" + path, "--fdname=web", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = activate
	j := start(t, hearing(cmd))
	await(t, func() bool { return strings.Contains(j.stderr.String(), "Listening on") })
	client, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.SetDeadline(time.Now().Add(time.Minute)))
	require.NoError(t, ln.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)))
	server, err := ln.Accept()
	require.NoError(t, err, "%s", j.stderr.String())
	_, err = io.WriteString(server, "hello")
	require.NoError(t, err)
	server.Close()
	said, err := io.ReadAll(client)
	assert.NoError(t, err)
	assert.Equal(t, "hello", string(said))
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	j.end(t)
}
