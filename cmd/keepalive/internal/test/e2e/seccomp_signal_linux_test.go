package e2e_test

import (
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// interrupted makes TCP sockets and connects them, while a timer interrupts it, until
// a call has failed.
const interrupted = `
import errno, signal, socket, sys
ln = socket.create_server(("127.0.0.1", 0))
made = socket.socket()
print("ready", flush=True)
sys.stdin.readline()
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, len(sys.argv) < 2)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
try:
    socket.socket()
    made.connect(ln.getsockname())
    made.getpeername()
    print("connected")
except OSError as e:
    print(errno.errorcode[e.errno])
signal.setitimer(signal.ITIMER_REAL, 0)
`

// needPidfdGetfd skips a test where run can't get at the sockets of a program, as it
// has to before Linux 5.19.
func needPidfdGetfd(t *testing.T) {
	t.Helper()
	if out, err := anything.before519().under(t, seccomp(t, enforced, "true")).CombinedOutput(); err != nil {
		netlab.Skip(t, fmt.Errorf("%w: %s", err, out))
	}
}

// A signal whose handler was installed without SA_RESTART interrupts a call that
// waits until run takes it up. Before Linux 5.19 that is connect(2), and Python
// takes EINTR for a connection that is under way, as it is without run.
func TestSeccompInterrupted(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needPidfdGetfd(t)
	netlab.LookPath(t, "python3")
	for name, test := range map[string]struct {
		cmd  *exec.Cmd
		want string
	}{
		"without SA_RESTART": {seccomp(t, enforced, "python3", "-c", interrupted), "EINTR"},
		"before 5.19":        {anything.before519().under(t, seccomp(t, enforced, "python3", "-c", interrupted)), "ENOTCONN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := alone(t, test.cmd)
			require.Equal(t, "ready", j.line(t))
			require.NoError(t, j.Process.Signal(unix.SIGSTOP))
			var status unix.WaitStatus
			_, err := unix.Wait4(j.Process.Pid, &status, unix.WUNTRACED, nil)
			require.NoError(t, err)
			require.True(t, status.Stopped())
			j.in.Write([]byte("\n"))
			assert.Equal(t, test.want, j.line(t))
			require.NoError(t, j.Process.Signal(unix.SIGCONT))
			assert.Zero(t, j.end(t), "%s", j.stderr.String())
		})
	}
	j := alone(t, seccomp(t, enforced, "python3", "-c", interrupted, "restart"))
	require.Equal(t, "ready", j.line(t))
	j.in.Write([]byte("\n"))
	assert.Equal(t, "connected\n", j.rest(t))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
}

// outlived prints how long a socket waits for the first probe before it listens and
// after, and what connect(2) returns for a Unix socket once run has been killed.
const outlived = `
import errno, os, signal, socket, time
signal.signal(signal.SIGTERM, lambda *_: None)
run = os.getppid() # before the test kills it
ln = socket.socket()
before = ln.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
ln.listen()
print(before == 61, ln.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), flush=True)
while os.getppid() == run:
    time.sleep(0.01)
print(errno.errorcode[socket.socket(socket.AF_UNIX).connect_ex("/nonexistent")])
`

// Before Linux 5.19 getsockopt(2) reads the policy once a socket listens. When run
// is killed, sockets of all kinds can't connect.
func TestSeccompKilledBefore519(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	needPidfdGetfd(t)
	netlab.LookPath(t, "python3")
	j := alone(t, anything.before519().under(t, seccomp(t, enforced, "python3", "-c", outlived)))
	require.Equal(t, "False 61", j.line(t), "%s", j.stderr.String())
	require.NoError(t, j.Process.Kill())
	assert.Equal(t, "ENOSYS\n", j.rest(t))
}

// A signal that ends what is to become the program is how run ends, without a word.
func TestSeccompSignalBeforeProgram(t *testing.T) {
	t.Parallel()
	needSeccomp(t)
	const args = 16
	deadly := slices.Concat(filter{
		loadNr,
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PRCTL, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: args},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PR_SET_PDEATHSIG, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS}, // by SIGSYS
	}, anything)
	j := alone(t, deadly.under(t, seccomp(t, enforced, "echo", "started")))
	assert.Empty(t, j.rest(t))
	status := j.end(t)
	assert.True(t, status.Signaled())
	assert.Equal(t, unix.SIGSYS, status.Signal())
	assert.Empty(t, j.stderr.String())
}
