package cgroup

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

func TestFindUnit(t *testing.T) {
	t.Parallel()
	fsys := make(fstest.MapFS)
	for _, dir := range []string{
		"init.scope", "system.slice/a.service/b.service", "system.slice/system-getty.slice/getty@tty1.service",
		"system.slice/_memory.service", "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-2.scope",
		"user.slice/user-1.slice/user@1.service/app.slice/c.service", "system.slice/docker-3.scope/system.slice/d.service",
	} {
		fsys[dir+"/cgroup.procs"] = new(fstest.MapFile)
	}
	for name, want := range map[string]string{
		"init.scope":                    "init.scope",
		"a.service":                     "system.slice/a.service",
		"getty@tty1.service":            "system.slice/system-getty.slice/getty@tty1.service",
		"memory.service":                "system.slice/_memory.service",
		"system.slice":                  "system.slice",
		"kubepods-burstable-pod1.slice": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice",
		"cri-2.scope":                   "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-2.scope",
		"b.service":                     "", // a group that the service made
		"c.service":                     "", // of a user's systemd
		"d.service":                     "", // of a container's systemd
		"nonesuch.service":              "",
		"cgroup.procs":                  "",
	} {
		got, err := findUnit(fsys, ".", name)
		assert.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
}
