package cgroup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
)

// sleeper starts a process in a group, which ends with the test at the latest.
func sleeper(t *testing.T, g *cgroup.Group) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cgrouptest.Start(t, g, cmd)
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// directory returns the path of a group's directory.
func directory(t *testing.T, g *cgroup.Group) string {
	t.Helper()
	dir, err := os.Readlink(fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, g).Fd()))
	require.NoError(t, err)
	return dir
}

// waiting returns what the group's Wait returns.
func waiting(g *cgroup.Group) <-chan error {
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	return done
}

func TestWait(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	first, second := sleeper(t, g), sleeper(t, cgrouptest.Below(t, g))
	done := waiting(g)
	for _, cmd := range []*exec.Cmd{first, second} {
		select {
		case err := <-done:
			t.Fatal("returned before the last process ended:", err)
		case <-time.After(50 * time.Millisecond):
		}
		end(cmd)
	}
	select {
	case err := <-done:
		assert.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("does not return")
	}
	assert.NoError(t, <-waiting(g), "nobody is there")
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	pids, err := g.Processes()
	require.NoError(t, err)
	assert.Empty(t, pids)
	below := cgrouptest.Below(t, g)
	a, b := sleeper(t, g), sleeper(t, below)
	pids, err = g.Processes()
	require.NoError(t, err)
	assert.Equal(t, []int{a.Process.Pid, b.Process.Pid}, pids)
}

// The processes of a threaded group are listed by the one above alone.
func TestProcessesOfThreadedGroup(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	threaded := cgrouptest.Below(t, g)
	dir := fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, threaded).Fd()) // which may be mounted nowhere
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.type"), []byte("threaded"), 0))
	a := sleeper(t, g)
	pids, err := g.Processes()
	require.NoError(t, err)
	assert.Equal(t, []int{a.Process.Pid}, pids)
}

func TestRemove(t *testing.T) {
	t.Parallel()
	outer := cgrouptest.New(t)
	g, err := outer.New()
	require.NoError(t, err)
	below, err := g.New()
	require.NoError(t, err)
	cmd := sleeper(t, below)
	assert.ErrorIs(t, g.Remove(), unix.EBUSY)
	assert.False(t, g.IsGone())
	end(cmd)
	require.NoError(t, g.Wait())
	assert.NoError(t, g.Remove())
	assert.True(t, below.IsGone())
}

func TestOpen(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	cmd := sleeper(t, g)
	for _, path := range []string{g.Path(), g.Path()[1:], g.Path() + "/", directory(t, g)} {
		same, err := cgroup.Open(path)
		require.NoError(t, err, path)
		pids, err := same.Processes()
		assert.NoError(t, err, path)
		assert.Equal(t, []int{cmd.Process.Pid}, pids, path)
		same.Close()
	}
	root, err := cgroup.Open("/")
	require.NoError(t, err)
	assert.False(t, root.IsGone())
	root.Close()
	for path, want := range map[string]string{
		"/nonesuch.slice": "cgroup /nonesuch.slice: it does not exist, want a directory of cgroup v2, or what systemctl show --value -p ControlGroup UNIT prints",
		t.TempDir():       "it is not of cgroup v2",
		"":                "the path of the cgroup is empty",
		"/../nonesuch":    "it does not exist",
	} {
		_, err := cgroup.Open(path)
		assert.ErrorContains(t, err, want)
	}
}
