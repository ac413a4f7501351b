package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
)

// startService makes a group as systemd does, and starts a program in it.
func startService(t testing.TB, dir string) *job {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	group, err := cgroup.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { group.Close() })
	return startIn(t, group, exec.Command(testprogram, "lines", "-tcp"))
}

// stop ends the program of a service, and removes its group.
func (j *job) stop(t testing.TB) {
	t.Helper()
	require.NoError(t, j.Process.Kill())
	j.Wait()
	require.NoError(t, os.Remove(j.group.Path()))
}

// awaitHeld waits until a program makes connections that hold a policy, and those
// that it has made before hold it too.
func awaitHeld(t testing.TB, program *job, want string) {
	t.Helper()
	await(t, func() bool {
		return !slices.ContainsFunc(connections(t, program), func(line string) bool { return line != want+" false" })
	})
}

// With --follow attach goes on with the group that comes after one that is
// removed: at once or later, and where the slice has gone with it.
func TestAttachFollow(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	cgrouptest.Need(t)
	for name, tt := range map[string]struct {
		path    func(*cgroup.Group) string // of the service, as attach shows it
		prepare func(*testing.T, *cgroup.Group, *exec.Cmd) *job
		flag    func(path string) string
	}{
		"cgroup": {
			path:    func(g *cgroup.Group) string { return g.Path() + service },
			prepare: func(t *testing.T, _ *cgroup.Group, cmd *exec.Cmd) *job { return start(t, cmd) },
			flag:    func(path string) string { return "--cgroup=" + path },
		},
		"unit in a cgroup namespace": { // where inotify(7) is silent about the groups that others make
			path: func(*cgroup.Group) string { return service },
			prepare: func(t *testing.T, g *cgroup.Group, cmd *exec.Cmd) *job {
				needUnshare(t, "-C", "-m")
				cmd.Args = append([]string{"unshare", "-C", "-m", cmd.Path}, cmd.Args[1:]...)
				cmd.Path = "/usr/bin/unshare"
				return startIn(t, g, cmd)
			},
			flag: func(string) string { return "--unit=redis-server" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := cgrouptest.New(t)
			root, err := os.Readlink(fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, g).Fd()))
			require.NoError(t, err)
			dir, path := root+service, tt.path(g)
			program := startService(t, dir)
			connections(t, program)
			j := tt.prepare(t, g, command(t, "attach", "--follow", tt.flag(path), enforced))
			holds := fmt.Sprintf("New connections of %s hold %s until this command ends.", path, enforced)
			removed := path + " has been removed, as when its service stops: waiting for the next one."
			skipTo(t, j, holds)
			awaitHeld(t, program, enforced)

			program.stop(t)
			program = startService(t, dir)
			skipTo(t, j, removed)
			skipTo(t, j, holds)
			awaitHeld(t, program, enforced)

			program.stop(t)
			require.NoError(t, os.Remove(filepath.Dir(dir)))
			skipTo(t, j, removed)
			require.NoError(t, os.MkdirAll(dir, 0o755))
			assert.Equal(t, holds, j.line(t))
			program = startService(t, dir)
			for _, line := range connections(t, program) {
				assert.Equal(t, enforced+" false", line)
			}

			program.stop(t)
			assert.Equal(t, removed, j.line(t))
			require.NoError(t, j.Process.Signal(unix.SIGTERM))
			assert.Equal(t, "Stopped: connections keep what they hold, and new ones are the program's own.\n", j.rest(t))
			assert.NoError(t, j.Wait(), "%s", j.stderr.String())
		})
	}
}

// skipTo reads what a job prints up to a line.
func skipTo(t testing.TB, j *job, want string) {
	t.Helper()
	for j.line(t) != want {
	}
}

// A group that is made and removed all the time is never given up, and the last
// one is attached to.
func TestAttachFollowsManyRestarts(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	g := cgrouptest.New(t)
	root, err := os.Readlink(fmt.Sprint("/proc/self/fd/", cgrouptest.Directory(t, g).Fd()))
	require.NoError(t, err)
	dir := root + service
	require.NoError(t, os.MkdirAll(dir, 0o755))
	j := start(t, command(t, "attach", "--follow", "--cgroup", g.Path()+service, enforced))
	j.line(t)
	j.line(t)
	for range 1000 {
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Mkdir(dir, 0o755))
	}
	awaitHeld(t, startService(t, dir), enforced)
	// It sets what the service has opened before attach knew the group.
	assert.Regexp(t, `^(\d+ sockets?: \d+ (set|unchanged|gone)(, \d+ (set|unchanged|gone))*\n)?$`, j.stderr.String())
}
