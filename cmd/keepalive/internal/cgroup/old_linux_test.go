package cgroup

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOldGroups(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []OldGroup{{"/docker/1", "cpu,cpuacct"}, {"/system.slice/a:b.service", "name=systemd"}},
		oldGroups("9:cpu,cpuacct:/docker/1\n8:pids:/\n1:name=systemd:/system.slice/a:b.service\n0::/init.scope\n"))
}

func TestHasOldUnits(t *testing.T) {
	t.Parallel()
	old := []OldGroup{{"/system.slice/a.service", systemdsOwn}}
	assert.True(t, HasOldUnits(old, maps.Keys(map[string]bool{"/": true, "/run": true})))
	assert.False(t, HasOldUnits(old, maps.Keys(map[string]bool{"/": true, "/system.slice": true})), "a hybrid hierarchy")
	assert.False(t, HasOldUnits(nil, maps.Keys(map[string]bool{"/": true})))
}
