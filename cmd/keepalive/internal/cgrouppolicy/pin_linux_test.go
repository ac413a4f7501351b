package cgrouppolicy_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pinDirectory returns one that does not exist, in a BPF file system.
func pinDirectory(t testing.TB) string {
	t.Helper()
	cgrouptest.NeedRules(t)
	return filepath.Join(cgrouptest.MountBPF(t), "keepalive")
}

// pinned puts a rule in force as a process does that ends afterwards.
func pinned(t testing.TB, dir string, g *cgroup.Group, c keepalive.Config) {
	t.Helper()
	require.NoError(t, pin(dir, cgrouptest.Directory(t, g), c))
}

func pin(dir string, root *os.File, c keepalive.Config) error {
	pins, err := cgrouppolicy.OpenPins(dir)
	if err != nil {
		return err
	}
	defer pins.Close()
	r, err := cgrouppolicy.NewRules(pins)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Replace([]cgrouppolicy.Row{row(c, rules.Set)}, everyone(1)); err != nil {
		return err
	}
	return r.Attach(root)
}

// Rules that are pinned stay in force when their process ends. Another process goes
// on with them, also one that has another layout, until they are removed.
func TestPins(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	dir := pinDirectory(t)
	holds := func(c keepalive.Config) {
		t.Helper()
		client, server := pair(t, s)
		assert.Equal(t, c, client.held(t))
		assert.Equal(t, c, server.held(t))
	}
	pinned(t, dir, g, full)
	holds(full)
	before, _ := pair(t, s)

	other := merge(keepalive.Config{Idle: 33 * time.Second}, untouched())
	pinned(t, dir, g, keepalive.Config{Idle: 33 * time.Second})
	holds(other)
	before.setAll(t)
	assert.Equal(t, full, before.held(t), "the connection keeps its rule until it is ordered to hold another one")

	require.NoError(t, os.Rename(filepath.Join(dir, "layout-1"), filepath.Join(dir, "layout-0")))
	pinned(t, dir, g, full)
	holds(full)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "layout-1", entries[0].Name())

	pins, err := cgrouppolicy.OpenPins(dir)
	require.NoError(t, err)
	assert.NoError(t, pins.Remove())
	assert.NoDirExists(t, dir)
	holds(untouched())
}

// There is no moment without rules while other programs take the place of those that
// are pinned.
func TestPinsLeaveNoGap(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	dir := pinDirectory(t)
	ln := listen(t, s, unix.AF_INET, 0) // holds no rule that its connections could inherit
	address, err := unix.Getsockname(int(ln))
	require.NoError(t, err)
	pinned(t, dir, g, full)
	connects := func() {
		t.Helper()
		client, err := s.Socket(t, unix.AF_INET, unix.SOCK_STREAM, 0)
		require.NoError(t, err)
		defer unix.Close(client)
		require.NoError(t, unix.Connect(client, address))
		server, _, err := unix.Accept4(int(ln), unix.SOCK_CLOEXEC)
		require.NoError(t, err)
		defer unix.Close(server)
		require.Equal(t, full, socket(client).held(t))
		require.Equal(t, full, socket(server).held(t))
		// Without TIME_WAIT.
		require.NoError(t, unix.SetsockoptLinger(server, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	}
	done := make(chan error)
	root := cgrouptest.Directory(t, g)
	go func() {
		var err error
		for range 5 {
			err = errors.Join(err, pin(dir, root, full))
		}
		done <- err
	}()
	for connections := 0; ; connections++ {
		connects()
		select {
		case err := <-done:
			assert.NoError(t, err)
			assert.NotZero(t, connections)
			return
		default:
		}
	}
}

// Only one process has the pins, and only root enters them.
func TestPinsArePrivate(t *testing.T) {
	t.Parallel()
	cgrouptest.Need(t)
	dir := pinDirectory(t)
	pins, err := cgrouppolicy.OpenPins(dir + "/")
	require.NoError(t, err)
	_, err = cgrouppolicy.OpenPins(dir)
	assert.ErrorContains(t, err, "another keepalive apply has them: end it first")
	require.NoError(t, pins.Close())
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err = cgrouppolicy.OpenPins(dir)
	assert.ErrorContains(t, err, "want one of the caller's own with mode 0700")
	_, err = cgrouppolicy.OpenPins(filepath.Join(t.TempDir(), "keepalive"))
	assert.ErrorContains(t, err, "is no BPF file system, want one there: mount -t bpf bpf ")
}

// Pins of a group that has gone are made anew.
func TestPinsOfAnotherGroup(t *testing.T) {
	t.Parallel()
	dir := pinDirectory(t)
	first := cgrouptest.New(t)
	gone, err := first.New()
	require.NoError(t, err)
	pinned(t, dir, gone, full)
	require.NoError(t, gone.Remove())
	pinned(t, dir, first, full)
	client, _ := pair(t, cgrouptest.NewSockets(t, first))
	assert.Equal(t, full, client.held(t))
	second := cgrouptest.New(t)
	pinned(t, dir, second, full)
	client, _ = pair(t, cgrouptest.NewSockets(t, second))
	assert.Equal(t, full, client.held(t))
	client, _ = pair(t, cgrouptest.NewSockets(t, first))
	assert.Equal(t, untouched(), client.held(t), "the pins are of the other group now")
}
