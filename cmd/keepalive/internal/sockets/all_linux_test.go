package sockets

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// holder starts a process that holds n listening sockets, and returns where they
// listen, in the order of its descriptors.
func holder(t testing.TB, n int) (cmd *exec.Cmd, addresses []netip.AddrPort) {
	t.Helper()
	cmd = exec.Command("sleep", "1000")
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		file, err := ln.(*net.TCPListener).File()
		require.NoError(t, err)
		defer file.Close()
		defer ln.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		addresses = append(addresses, ln.Addr().(*net.TCPAddr).AddrPort())
	}
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, file) // no socket
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, addresses
}

func of(cmd *exec.Cmd) func(Process) bool {
	return func(p Process) bool { return p.PID == cmd.Process.Pid }
}

// Several batches are read at the same time, and come in order. Another process
// that looks at the same sockets holds duplicates of some for a moment.
func TestAll(t *testing.T) {
	t.Parallel()
	cmd, want := holder(t, 3*batchSize)
	var got []netip.AddrPort
	require.Eventually(t, func() bool {
		f, err := Find(ByDescriptor)
		require.NoError(t, err)
		defer f.Close()
		got = nil
		for s := range f.All(of(cmd)) {
			if len(s.Holders) > 1 {
				return false // leaves no goroutine that waits
			}
			assert.Equal(t, Listen, s.State)
			assert.Equal(t, fmt.Sprint([]Holder{{newProcess(cmd.Process.Pid, "sleep"), 3 + len(got)}}), fmt.Sprint(s.Holders))
			got = append(got, s.Local)
		}
		for range f.All(of(cmd)) {
			break
		}
		return true
	}, time.Minute, 10*time.Millisecond)
	assert.Equal(t, want, got)
}

// What has vanished since Find is left out, without an error.
func TestVanished(t *testing.T) {
	t.Parallel()
	cmd, _ := holder(t, 1)
	f, err := Find(ByDescriptor)
	require.NoError(t, err)
	defer f.Close()
	index := -1
	for s := range f.All(of(cmd)) {
		index = s.Index
	}
	require.NotEqual(t, -1, index)
	r := f.NewReader()
	defer r.Close()
	visited := 0
	r.Read(index, func(*Socket) { visited++ })
	assert.Equal(t, 1, visited)

	// A descriptor that leads to another socket now.
	f.refs[index].inode ^= 1 << 31
	r.Read(index, func(*Socket) { visited++ })
	assert.Equal(t, 1, visited)
	f.refs[index].inode ^= 1 << 31

	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	r.Read(index, func(*Socket) { visited++ })
	assert.Equal(t, 1, visited)
	for _, refusal := range f.Refusals() {
		assert.NotEqual(t, cmd.Process.Pid, refusal.PID)
	}
}
