// Package cgrouptest gives tests control groups, and sockets that belong to one.
package cgrouptest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"golang.org/x/sys/unix"
)

// Run runs the tests of a package that uses [NewSockets], and returns the exit
// code.
func Run(m *testing.M) int {
	if os.Getenv(maker) != "" {
		makeSockets()
		return 0
	}
	return netlab.Run(m, 32) // they wait for the kernel and for processes, not for the processor
}

// New makes a group that lasts until the test ends, and so do its processes. It
// skips the test where eBPF on a group is refused; see [netlab.Skip].
func New(t testing.TB) *cgroup.Group {
	t.Helper()
	own, err := cgroup.Own()
	if err != nil {
		netlab.Skip(t, err)
	}
	t.Cleanup(func() { own.Close() })
	if err := cgrouppolicy.Check(Directory(t, own), keepalive.Config{}); err != nil {
		netlab.Skip(t, err)
	}
	return Below(t, own)
}

// Need skips a test where [New] would skip its subtests, so that it does not pass
// without any.
func Need(t testing.TB) {
	t.Helper()
	New(t)
}

// NeedMount skips a test of a process that may not mount cgroup v2, where it is
// mounted nowhere.
func NeedMount(t testing.TB) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mounts), " - cgroup2 ") {
		netlab.Skip(t, errors.New("cgroup v2 is mounted nowhere: mount -t cgroup2 none /sys/fs/cgroup"))
	}
}

// Below makes a group below another one.
func Below(t testing.TB, g *cgroup.Group) *cgroup.Group {
	t.Helper()
	made, err := g.New()
	if err != nil {
		netlab.Skip(t, err)
	}
	t.Cleanup(func() {
		if err := end(made); err != nil {
			t.Error(err)
		}
	})
	return made
}

// end kills the processes of the group and removes it.
func end(g *cgroup.Group) error {
	empty := make(chan error, 1)
	go func() { empty <- g.Wait() }()
	for {
		pids, err := g.Processes()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case err := <-empty:
			return errors.Join(err, g.Remove())
		case <-time.After(100 * time.Millisecond): // what has been forked meanwhile
		}
	}
}

// Directory opens the directory of a group until the test ends.
func Directory(t testing.TB, g *cgroup.Group) *os.File {
	t.Helper()
	dir, err := g.Directory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// Start starts a process in a group.
func Start(t testing.TB, g *cgroup.Group, cmd *exec.Cmd) {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(unix.SysProcAttr)
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(Directory(t, g).Fd())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}
