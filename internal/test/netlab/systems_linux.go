package netlab

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (s System) here() bool {
	switch s {
	case GVisor:
		return strings.Contains(release(), "gvisor")
	case QemuUser:
		return emulated()
	}
	return false
}

// emulated reports whether qemu-user runs this program. Qemu-user answers for
// /proc/self/exe itself, but not for the same file under another name.
func emulated() bool {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	running, err := os.Readlink("/proc/thread-self/exe")
	return err == nil && running != self
}

// SkipBefore skips the test on a Linux before a release that brought what the
// test needs.
func SkipBefore(t testing.TB, major, minor int, brought string) {
	t.Helper()
	var x, y int
	if _, err := fmt.Sscanf(release(), "%d.%d", &x, &y); err != nil {
		t.Fatalf("netlab: release %q: %v", release(), err)
	}
	if x < major || x == major && y < minor {
		t.Skipf("Linux %d.%d: %s needs %d.%d", x, y, brought, major, minor)
	}
}

// release returns the kernel's release, as uname -r does.
func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}
