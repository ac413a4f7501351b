package cgroup

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

func TestUnitOfPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"":                                    "",
		"/":                                   "",
		"/system.slice/redis-server.service":  "redis-server.service",
		"/system.slice/docker-4711.scope":     "docker-4711.scope",
		"/system.slice/docker-4711.scope/app": "docker-4711.scope",
		"/user.slice/user-1.slice/user@1.service/app.slice/vi-2.scope": "vi-2.scope",
		"/system.slice/_cpu.service":                                   "cpu.service",
		"/docker/4711":                                                 "",
		"/machine.slice":                                               "",
		"/kubepods.slice/kubepods-pod1.slice/cri-containerd-4711.scope/x.y": "cri-containerd-4711.scope",
	} {
		assert.Equal(t, want, Unit(path), path)
	}
}

// A path is found by the inode, and one that was asked for is kept.
func TestPaths(t *testing.T) {
	t.Parallel()
	own, err := Own()
	if err != nil {
		netlab.Skip(t, err)
	}
	defer own.Close()
	inode, err := own.Inode()
	require.NoError(t, err)
	var paths Paths
	assert.Equal(t, own.Path(), paths.Of(inode))
	assert.Equal(t, own.Path(), PathOf(os.Getpid()))
	assert.Empty(t, paths.Of(1<<63))
	assert.Empty(t, paths.Of(0))
	assert.Equal(t, own.Path(), paths.Of(inode))
	assert.Empty(t, PathOf(1<<30))
}
