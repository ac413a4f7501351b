package netlab

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (s System) here() bool { return s == GVisor && strings.Contains(release(), "gvisor") }

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

// SkipForeignBinary skips the test where err, of a command that was to run the test
// binary again, says that the kernel can't: qemu-user runs binaries of other
// processors, and its children are not run by it.
func SkipForeignBinary(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, unix.ENOEXEC) {
		t.Skipf("qemu-user: the kernel can't run this test binary: %v", err)
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
