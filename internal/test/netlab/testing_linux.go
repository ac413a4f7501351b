package netlab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Main runs the tests of a package, in a user namespace where this process may
// not make network namespaces. It also lets tests wait side by side whatever the
// number of processors: they wait for the kernel's timers, not for the processor.
func Main(m *testing.M) {
	flag.Parse()
	// A fuzzer would start as many processes.
	if !given("test.parallel") && !given("test.fuzz") && !given("test.fuzzworker") {
		flag.Set("test.parallel", "128")
	}
	if err := enterTests(); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err) // the tests that need more say so when they skip
	}
	os.Exit(m.Run())
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
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrNotExist) {
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

// Skip skips the test for want of what err names, or fails it where
// KEEPALIVE_LAB=required.
func Skip(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(required) == "required" {
		t.Fatalf("%v (%s=required)", err, required)
	}
	t.Skip(err)
}
