package netlab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// asProgram makes the test binary behave as a program that calls Enter.
const asProgram = "NETLAB_TEST_PROGRAM"

// Exit codes of the program.
const (
	exitRefused     = 3
	exitInterrupted = 4
)

func program() {
	if err := Enter(); err != nil {
		fmt.Println(err)
		os.Exit(exitRefused)
	}
	ignored := signal.Ignored(os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fmt.Println(os.Getenv(inside), ignored)
	<-ctx.Done()
	os.Exit(exitInterrupted)
}

// Main gives an unprivileged process what the tests need.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	out, err := unprivileged(t, "TestSilence|TestNewNamespace|TestLabForget$|TestHostReboot").CombinedOutput()
	skipUnhelped(t, string(out))
	require.NoError(t, err, "%s", out)
	assert.Equal(t, 5, strings.Count("\n"+string(out), "\n--- PASS"), "%s", out)
}

// Ubuntu 24.04 lets everyone make a user namespace, and refuses rights in it.
func TestMainWithoutRights(t *testing.T) {
	t.Parallel()
	for lab, want := range map[string]struct {
		code    int
		verdict string
	}{
		"optional": {0, "SKIP"},
		"required": {1, "FAIL"},
	} {
		t.Run(lab, func(t *testing.T) {
			t.Parallel()
			cmd := unprivileged(t, "TestSilence|TestNewNamespace")
			cmd.Env = append(cmd.Environ(), required+"="+lab)
			code, out := run(t, cmd, interfaceUp, socketFilter)
			assert.Equal(t, want.code, code, out)
			assert.Equal(t, 1, strings.Count(out, ", and a user namespace is no help: no rights in it"), out)
			for _, result := range []string{
				"PASS: TestSilenceClosed ",
				want.verdict + ": TestSilence ",
				want.verdict + ": TestNewNamespace ",
			} {
				assert.Equal(t, 1, strings.Count(out, "\n--- "+result), "%s in\n%s", result, out)
			}
			assert.Regexp(t, `_test\.go:\d+: netlab: setsockopt SO_ATTACH_FILTER: operation not permitted`, out)
			assert.Regexp(t, `_test\.go:\d+: unshare: operation not permitted`, out)
		})
	}
}

func TestEnterWithoutRights(t *testing.T) {
	t.Parallel()
	cmd := unprivileged(t, "")
	cmd.Env = append(cmd.Environ(), asProgram+"=1")
	code, out := run(t, cmd, interfaceUp, socketFilter)
	assert.Equal(t, exitRefused, code)
	assert.Equal(t, "netlab: setsockopt SO_ATTACH_FILTER: operation not permitted, and a user namespace is no help: "+
		"no rights in it, see kernel.apparmor_restrict_unprivileged_userns\n", out)
}

// Without a terminal a signal reaches one process, which is to pass it on.
func TestEnterInterrupted(t *testing.T) {
	t.Parallel()
	cmd := unprivileged(t, "")
	cmd.Env = append(cmd.Environ(), asProgram+"=1")
	cmd.SysProcAttr.Setsid = true
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, start(cmd, socketFilter))
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	skipUnhelped(t, said)
	require.Equal(t, fmt.Sprintln(entered, signal.Ignored(os.Interrupt)), said)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
}

// unprivileged prepares tests of this package to run as nobody, which takes
// root. They are killed if they hang.
func unprivileged(t *testing.T, tests string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		t.Skip("only root can become another user")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "netlab") // t.TempDir is for root alone
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	binary := filepath.Join(dir, "netlab.test")
	// Were it written here, a process that another test starts could hold it open.
	require.NoError(t, exec.Command("cp", self, binary).Run())
	require.NoError(t, os.Chmod(binary, 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run="+tests)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

// skipUnhelped skips the test where Main or Enter did not get what they need.
func skipUnhelped(t *testing.T, out string) {
	t.Helper()
	if strings.Contains(out, "a user namespace is no help") {
		Skip(t, os.ErrPermission)
	}
}

// call is a system call with a certain argument.
type call struct{ number, index, argument uint32 }

var (
	interfaceUp  = call{unix.SYS_IOCTL, 1, unix.SIOCSIFFLAGS}
	socketFilter = call{unix.SYS_SETSOCKOPT, 2, unix.SO_ATTACH_FILTER}
)

// run runs a process for which the calls fail, and returns its exit code and
// what it printed.
func run(t *testing.T, cmd *exec.Cmd, refused ...call) (code int, out string) {
	t.Helper()
	var b strings.Builder
	cmd.Stdout, cmd.Stderr = &b, &b
	require.NoError(t, start(cmd, refused...))
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), b.String()
}

// start starts a process for which the calls fail with EPERM, as for those that
// it starts.
func start(cmd *exec.Cmd, refused ...call) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := refuse(refused)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// refuse makes the calls fail with EPERM on this thread. Offsets are those of
// the low words in struct seccomp_data, for little endian.
func refuse(calls []call) error {
	var filter []unix.SockFilter
	for _, c := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.number, Jf: 3},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8*c.index},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.argument, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	return os.NewSyscallError("prctl PR_SET_SECCOMP", err)
}
