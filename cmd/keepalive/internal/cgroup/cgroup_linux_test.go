package cgroup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	pids, err = g.ProcessesOf("/" + filepath.Base(threaded.Path()))
	require.NoError(t, err)
	assert.Equal(t, []int{a.Process.Pid}, pids, "it has threads of theirs")
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
	cgrouptest.NeedMount(t)
	g := cgrouptest.New(t)
	cmd := sleeper(t, g)
	dir := directory(t, g)
	working, err := os.Getwd()
	require.NoError(t, err)
	relative, err := filepath.Rel(working, dir)
	require.NoError(t, err)
	for path, want := range map[string]string{
		g.Path():                          g.Path(),
		g.Path() + "/":                    g.Path(),
		"/" + g.Path():                    g.Path(),
		dir:                               dir,
		relative:                          dir,
		dir + "/../" + filepath.Base(dir): dir,
	} {
		same, err := cgroup.Open(path)
		require.NoError(t, err, path)
		assert.Equal(t, want, same.Path())
		pids, err := same.Processes()
		assert.NoError(t, err, path)
		assert.Equal(t, []int{cmd.Process.Pid}, pids, path)
		same.Close()
	}
	for path, want := range map[string]string{
		"/nonesuch.slice":                  "cgroup /nonesuch.slice: it does not exist, want a directory of cgroup v2, or a path as in /proc/PID/cgroup, such as /system.slice/redis-server.service",
		t.TempDir():                        "it is not of cgroup v2",
		"/etc/passwd":                      "it is not of cgroup v2",
		"":                                 "the path of the cgroup is empty",
		g.Path()[1:]:                       "it is neither absolute nor a directory of cgroup v2",
		filepath.Join(dir, "cgroup.procs"): "not a directory",
		"/../nonesuch":                     "it lies outside of this cgroup namespace",
		g.Path() + "/x/..":                 "it has . or .. in it",
	} {
		_, err := cgroup.Open(path)
		assert.ErrorContains(t, err, want, path)
	}
}

// Nothing but Root opens the root: a path that a script has put together easily
// leads there.
func TestOpenNeverOpensTheRoot(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	g := cgrouptest.New(t)
	root, err := cgroup.Root()
	require.NoError(t, err)
	defer root.Close()
	assert.False(t, root.IsGone())
	mount, up := directory(t, root), strings.Repeat("/..", strings.Count(g.Path(), "/"))
	for _, path := range []string{"/", "//", "///", mount, mount + "/", directory(t, g) + up, "/proc/self/fd/" + fmt.Sprint(cgrouptest.Directory(t, root).Fd())} {
		_, err := cgroup.Open(path)
		assert.ErrorContains(t, err, "it is the root, which holds every process, want --all for that", path)
	}
	for _, path := range []string{".", "./", "..", "../..", "../../../../../../../../..", "tmp", g.Path() + "/..", "/.", "/..", "/../..", "/./"} {
		_, err := cgroup.Open(path)
		assert.Error(t, err, path)
	}
}

func TestOfProcess(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	cmd := sleeper(t, g)
	same, err := cgroup.OfProcess(cmd.Process.Pid)
	require.NoError(t, err)
	defer same.Close()
	assert.Equal(t, g.Path(), same.Path())
	end(cmd)
	_, err = cgroup.OfProcess(cmd.Process.Pid)
	assert.EqualError(t, err, fmt.Sprintf("there is no process %d, or /proc hides it", cmd.Process.Pid))
	if name, err := os.ReadFile("/proc/2/comm"); err == nil && string(name) == "kthreadd\n" { // which never leaves the root
		_, err = cgroup.OfProcess(2)
		assert.ErrorContains(t, err, "process 2 is in the root of cgroup v2")
	}
}

func TestOfUnit(t *testing.T) {
	t.Parallel()
	cgrouptest.New(t)
	for name, want := range map[string]string{
		"nonesuch":       "unit nonesuch.service has no group of cgroup v2: it is not running, or its systemd uses cgroup v1 alone",
		"nonesuch.slice": "unit nonesuch.slice has no group",
		"nonesuch.timer": "unit nonesuch.timer.service has no group",
		"":               `"" is no unit of systemd, want a name such as redis-server or user.slice`,
		"../x":           `"../x" is no unit of systemd`,
		"-.slice":        "unit -.slice: it is the root",
	} {
		_, err := cgroup.OfUnit(name)
		assert.ErrorContains(t, err, want)
	}
}
