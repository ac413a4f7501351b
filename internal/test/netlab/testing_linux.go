package netlab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Main runs the tests of a package, in a user namespace where this process may
// not make network namespaces. It also lets tests wait side by side whatever the
// number of processors: they wait for the kernel's timers, not for the processor.
func Main(m *testing.M) {
	if err := enterTests(); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err) // the tests that need more say so when they skip
	}
	os.Exit(Run(m, 128))
}

// Run runs the tests of a package, so many at once unless a flag says otherwise,
// and returns the exit code. It prints why [Skip] skipped tests and benchmarks:
// go test without -v says nothing about them.
func Run(m *testing.M, parallel int) (code int) {
	flag.Parse()
	// A fuzzer would start as many processes.
	if !given("test.parallel") && !given("test.fuzz") && !given("test.fuzzworker") {
		flag.Set("test.parallel", strconv.Itoa(parallel))
	}
	code = m.Run()
	skipped.report(os.Stderr)
	return code
}

func given(name string) bool {
	found := false
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// NewNamespace moves the calling test, for the rest of it, into a network
// namespace with nothing but a loopback device. Goroutines that it starts stay
// outside, and so do its subtests; sockets stay in the namespace that they were
// opened in.
func NewNamespace(t testing.TB) {
	t.Helper()
	SkipOn(t, GVisor, "it brings no network device up")
	runtime.LockOSThread() // never unlocked, so that the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		Skip(t, os.NewSyscallError("unshare", err))
	}
	if err := loopbackUp(); err != nil {
		t.Fatal("netlab:", err)
	}
}

// Sysctl sets net.ipv4.name in the network namespace that [NewNamespace] made.
func Sysctl(t testing.TB, name, value string) {
	t.Helper()
	writeSysctl(t, "net.ipv4."+name, value)
}

// writeSysctl sets a sysctl in the network namespace of the calling thread. It
// skips the test where the sysctl can't be set or the kernel lacks it.
func writeSysctl(t testing.TB, name, value string) {
	t.Helper()
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	err := os.WriteFile(path, []byte(value), 0)
	if errors.Is(err, unix.EROFS) {
		err = fmt.Errorf("%w: %w", err, os.ErrPermission)
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		Skip(t, err)
	}
	if err != nil {
		t.Fatal("netlab:", err)
	}
}

// MustSilence is [Silence] for tests.
func MustSilence(t testing.TB, conn syscall.Conn) {
	t.Helper()
	SkipOn(t, GVisor, "it takes a socket filter and ignores it")
	err := Silence(conn)
	if errors.Is(err, os.ErrPermission) {
		Skip(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// NeedNamespace skips a test where [NewNamespace] would skip its subtests, so that
// it does not pass without any.
func NeedNamespace(t testing.TB) {
	t.Helper()
	SkipOn(t, GVisor, "it brings no network device up")
	if err := tryNamespace(); err != nil {
		Skip(t, err)
	}
}

// NeedLab skips a test where [NewLab] would skip its subtests.
func NeedLab(t testing.TB) {
	t.Helper()
	NewLab(t, Rules{})
}

// NeedExec skips a test that starts a program where that may hang.
func NeedExec(t testing.TB) {
	t.Helper()
	SkipOn(t, QemuUser, "the child that it forks inherits locks that other threads hold")
}

// LookPath returns the path of a program, which may be one for administrators. It
// skips the test where there is none, and where [NeedExec] does.
func LookPath(t testing.TB, name string) string {
	t.Helper()
	NeedExec(t)
	path, err := lookPath(name)
	if err != nil {
		Skip(t, err)
	}
	return path
}

// MountOver hides what a directory below /proc has from the calling test, for the
// rest of it, behind the files.
func MountOver(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	runtime.LockOSThread() // never unlocked, so that the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		Skip(t, os.NewSyscallError("unshare", err))
	}
	// The root of a chroot need not be a mount point. /proc is one.
	if err := unix.Mount("", "/proc", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		Skip(t, os.NewSyscallError("mount /proc", err))
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		Skip(t, os.NewSyscallError("mount "+dir, err))
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal("netlab:", err)
		}
	}
}
