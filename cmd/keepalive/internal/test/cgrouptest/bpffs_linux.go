package cgrouptest

import (
	"fmt"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"golang.org/x/sys/unix"
)

// MountBPF mounts a BPF file system until the test ends, and returns where.
func MountBPF(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		netlab.Skip(t, fmt.Errorf("a BPF file system can't be mounted: %w: run it as root", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
