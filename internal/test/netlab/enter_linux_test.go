package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
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

func program() {
	name, err := os.Readlink("/proc/self/ns/net")
	if err == nil {
		err = Enter()
	}
	if err == nil {
		_, err = net.Listen("tcp6", "[::1]:1") // nobody else is here
	}
	fmt.Print(name, " ", err)
	os.Exit(0)
}

func TestIsolate(t *testing.T) {
	t.Parallel()
	outside, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	cmd := testBinary(t, "/proc/self/exe", "")
	cmd.Env = append(cmd.Environ(), asProgram+"=1")
	Isolate(cmd)
	runtime.LockOSThread() // with which it would be killed
	defer runtime.UnlockOSThread()
	out, err := cmd.Output()
	if errors.Is(err, os.ErrPermission) {
		Skip(t, err)
	}
	require.NoError(t, err)
	within, listened, _ := strings.Cut(string(out), " ")
	assert.Regexp(t, `^net:\[\d+\]$`, within)
	assert.NotEqual(t, outside, within)
	assert.Equal(t, "<nil>", listened)
}

// Main gives an unprivileged process what the tests need.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	out, err := unprivileged(t, "TestSilence$|TestNewNamespace|TestLabForget$|TestHostReboot").CombinedOutput()
	if strings.Contains(string(out), unhelped) {
		Skip(t, fmt.Errorf("namespaces as nobody: %w", os.ErrPermission))
	}
	require.NoError(t, err, "%s", out)
	assert.Equal(t, 4, strings.Count("\n"+string(out), "\n--- PASS"), "%s", out)
}

// unhelped is what Main says where the system keeps namespaces from it.
const unhelped = "netlab: unshare: operation not permitted, and a user namespace is no help: "

// Ubuntu 24.04 lets everyone make a user namespace, and refuses rights in it.
func TestMainWithoutRights(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for lab, want := range map[string]struct {
		code    int
		verdict string
	}{
		"optional": {0, "SKIP"},
		"required": {1, "FAIL"},
	} {
		t.Run(lab, func(t *testing.T) {
			t.Parallel()
			cmd := unprivileged(t, "TestSilence$|TestNewNamespace")
			cmd.Env = append(cmd.Environ(), required+"="+lab)
			code, out := run(t, cmd, call{unix.SYS_IOCTL, 1, unix.SIOCSIFFLAGS, unix.EPERM})
			assert.Equal(t, want.code, code, out)
			assert.Regexp(t, unhelped+"(no rights in it|fork/exec)", out) // the latter where there are no user namespaces
			assert.Equal(t, 1, strings.Count(out, unhelped), out)
			for _, result := range []string{"PASS: TestSilence ", want.verdict + ": TestNewNamespace "} {
				assert.Equal(t, 1, strings.Count(out, "\n--- "+result), "%s in\n%s", result, out)
			}
			assert.Regexp(t, `_test\.go:\d+: unshare: operation not permitted`, out)
		})
	}
}

// testBinary prepares the tests of this package to run in a process of their
// own, which is killed if it hangs.
func testBinary(t *testing.T, path, tests string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, "-test.v", "-test.run="+tests)
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		Skip(t, errors.New("only root can become another user: run the tests as root"))
	}
}

// unprivileged prepares tests of this package to run as nobody, which takes
// root.
func unprivileged(t *testing.T, tests string) *exec.Cmd {
	t.Helper()
	needRoot(t)
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
	cmd := testBinary(t, binary, tests)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}

// call is a system call with a certain argument, and the error that it fails with.
type call struct {
	number, index, argument uint32
	errno                   syscall.Errno
}

// run runs a process for which the calls fail, as for those that it starts, and
// returns its exit code and what it printed.
func run(t *testing.T, cmd *exec.Cmd, refused ...call) (code int, out string) {
	t.Helper()
	var b strings.Builder
	cmd.Stdout, cmd.Stderr = &b, &b
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := refuse(refused)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	require.NoError(t, <-started)
	cmd.Wait()
	return cmd.ProcessState.ExitCode(), b.String()
}

// refuse makes the calls fail on this thread. Offsets are those of the low words
// in struct seccomp_data, for little endian.
func refuse(calls []call) error {
	var filter []unix.SockFilter
	for _, c := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.number, Jf: 3},
			unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8*c.index},
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: c.argument, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(c.errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	return os.NewSyscallError("prctl PR_SET_SECCOMP", err)
}
