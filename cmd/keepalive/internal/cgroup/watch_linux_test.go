package cgroup_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
)

// A watch notices at once that a group is removed and made again, also when the
// one above it was made again.
func TestWatch(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedMount(t)
	above := filepath.Join(directory(t, cgrouptest.New(t)), "above")
	dir := filepath.Join(above, "group")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	open := func() (*cgroup.Group, error) { return cgroup.Open(dir) }
	g, err := open()
	require.NoError(t, err)
	defer g.Close()
	w := g.Watch()
	defer w.Close()
	const look = 10 * time.Second
	w.LookEvery(look)
	wait := func() {
		t.Helper()
		began := time.Now()
		w.Wait(t.Context())
		assert.Less(t, time.Since(began), look, "it waited for the next look")
	}

	require.NoError(t, os.Remove(dir))
	wait()
	assert.True(t, g.IsGone())
	require.NoError(t, os.Mkdir(dir, 0o755))
	wait()
	assert.True(t, g.IsGone())

	require.NoError(t, os.Remove(dir))
	require.NoError(t, os.Remove(above))
	wait()
	began := time.Now()
	looks := 0
	next, err := w.Await(t.Context(), func() (*cgroup.Group, error) {
		found, err := open()
		switch looks++; looks {
		case 1:
			require.NoError(t, os.Mkdir(above, 0o755))
		case 2:
			require.NoError(t, os.Mkdir(dir, 0o755))
		}
		return found, err
	})
	require.NoError(t, err)
	defer next.Close()
	assert.Less(t, time.Since(began), look, "it waited for the next look")
	assert.False(t, next.IsGone())
	assert.True(t, g.IsGone())
}

// An error that has nothing to do with a missing group ends the waiting, and so
// does the caller.
func TestAwaitEnds(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	w := g.Watch()
	defer w.Close()
	_, err := w.Await(t.Context(), func() (*cgroup.Group, error) { return nil, os.ErrPermission })
	assert.ErrorIs(t, err, os.ErrPermission)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = w.Await(ctx, func() (*cgroup.Group, error) {
		cancel()
		return cgroup.OfUnit("nonesuch")
	})
	assert.ErrorIs(t, err, context.Canceled)
}
