package cgroup_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// A user to whom a group is delegated can end no tree: neither by names that are not
// UTF-8, nor by a path that is longer than PATH_MAX.
func TestTreeOfOddGroups(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	g := cgrouptest.New(t)
	below := func(top string, names ...string) {
		fd, err := unix.Open(top, unix.O_PATH|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		for _, name := range names {
			require.NoError(t, unix.Mkdirat(fd, name, 0o755))
			next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
			unix.Close(fd)
			require.NoError(t, err)
			fd = next
		}
		unix.Close(fd)
	}
	top := directory(t, g)
	const bad = "bad\xff"
	long := strings.Repeat("l", 250)
	deep := make([]string, 18)
	for i := range deep {
		deep[i] = long
	}
	below(top, bad)
	tree, err := g.Tree()
	require.NoError(t, err)
	defer tree.Close()
	assert.Contains(t, tree.Groups(), "/"+bad)
	await := func(path string) {
		t.Helper()
		for tree.Groups()[path] == 0 {
			_, err := tree.Wait(t.Context())
			require.NoError(t, err)
		}
	}
	below(top, append([]string{"worse\xfe"}, deep...)...)
	await("/worse\xfe/" + strings.Join(deep, "/"))
	below(top, "next")
	await("/next")
	_, err = g.Processes()
	assert.NoError(t, err)
}

// A group that its owner keeps others from reading is known by its id: root without
// CAP_DAC_OVERRIDE is such another.
func TestTreeOfPrivateGroup(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	if os.Getuid() != 0 {
		netlab.Skip(t, errors.New("only root makes directories of others"))
	}
	g := cgrouptest.New(t)
	dir := filepath.Join(directory(t, g), "private")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "below"), 0o755))
	require.NoError(t, os.Chmod(dir, 0o700))
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(dir, &stat))
	var groups map[string]uint64
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread has another user's rights
		const nobody = 65534
		if _, err = unix.SetfsuidRetUid(nobody); err != nil {
			return
		}
		var tree *cgroup.Tree
		if tree, err = g.Tree(); err == nil {
			groups = tree.Groups()
			err = tree.Close()
		}
	}()
	<-done
	require.NoError(t, err)
	assert.Equal(t, stat.Ino, groups["/private"])
	assert.NotContains(t, groups, "/private/below")
}
