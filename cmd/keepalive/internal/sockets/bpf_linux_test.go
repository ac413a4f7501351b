package sockets

import (
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/kernelfields"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The reason why the kernel refuses a program is part of the error.
func TestRefusedProgram(t *testing.T) {
	t.Parallel()
	needIterator(t)
	kernel, err := kernelfields.New()
	require.NoError(t, err)
	defer kernel.Close()
	_, err = newBPFIterator(kernel, "task_file", asm.Instructions{asm.Mov.Reg(asm.R0, asm.R3), asm.Return()})
	assert.ErrorContains(t, err, "R3 !read_ok")
	kernel.Load(asm.R1, asm.R2, "tcp_sock", "no_such_field")
	_, err = newBPFIterator(kernel, "task_file", nil)
	assert.EqualError(t, err, "struct tcp_sock has no field no_such_field of no_such_field")
}

// What an iterator writes arrives whole, however much that is.
func TestStream(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needIterator(t)
	const crowd = 600 // whose records are more than a read returns
	cmd, _ := holder(t, crowd)
	i, err := newIterator()
	require.NoError(t, err)
	defer i.close()
	inodes := make(map[uint32]bool)
	require.NoError(t, stream(i.descriptors, func(d *descriptor) bool {
		if int(d.pid) == cmd.Process.Pid {
			inodes[d.inode] = true
			assert.Equal(t, d.pid, d.thread)
			assert.NotZero(t, d.netns)
			assert.Zero(t, d.maySuspect)
		}
		return true
	}))
	assert.Len(t, inodes, crowd)
	visited := 0
	require.NoError(t, stream(i.records, func(r *record) bool {
		if inodes[r.inode] {
			visited++
		}
		return true
	}))
	assert.GreaterOrEqual(t, visited, crowd, "more where another process duplicates them")
	visited = 0
	require.NoError(t, stream(i.records, func(*record) bool { visited++; return visited < 3 }))
	assert.Equal(t, 3, visited)
}
