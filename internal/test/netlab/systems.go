package netlab

import "testing"

// A System is one that runs the programs of another, but not all of their tests.
type System string

// The systems that a [SkipOn] may name.
const (
	// GVisor runs Linux programs on a network of its own.
	GVisor System = "gVisor"
	// Wine runs Windows programs on Linux.
	Wine System = "Wine"
	// QemuUser runs Linux programs that were built for other processors.
	QemuUser System = "qemu-user"
	// OldWindows is Windows before 10.0.16299, and Wine 8.0.
	OldWindows System = "Windows without TCP_KEEPINTVL"
)

// Here reports whether the test runs on the system.
func (s System) Here() bool { return s.here() }

// SkipOn skips the test on a system that can't run it, for a reason that says
// what the system lacks or does otherwise. KEEPALIVE_LAB=required accepts that,
// as it does [SkipBefore], since no right and no tool would help.
func SkipOn(t testing.TB, s System, reason string) {
	t.Helper()
	if s.Here() {
		t.Skipf("%s: %s", s, reason)
	}
}
