package cgroup

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each unit that is listed is found by its name.
func TestUnits(t *testing.T) {
	t.Parallel()
	fsys := make(fstest.MapFS)
	for _, dir := range []string{
		"init.scope", "system.slice/a.service/b.service", "system.slice/system-getty.slice/getty@tty1.service",
		"system.slice/_memory.service", "system.slice/docker-3.scope/system.slice/d.service", "kubepods",
	} {
		fsys[dir+"/cgroup.procs"] = new(fstest.MapFile)
	}
	names, err := units(fsys)
	require.NoError(t, err)
	slices.Sort(names)
	assert.Equal(t, []string{
		"a.service", "docker-3.scope", "getty@tty1.service", "init.scope", "memory.service", "system-getty.slice", "system.slice",
	}, names)
	for _, name := range names {
		dir, err := findUnit(fsys, ".", name)
		assert.NoError(t, err)
		assert.NotEmpty(t, dir, name)
	}
}
