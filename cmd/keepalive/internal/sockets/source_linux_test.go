package sockets

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// needIterator skips a test where the caller may not load programs of eBPF.
func needIterator(t testing.TB) {
	t.Helper()
	i, err := newIterator()
	if err != nil {
		netlab.Skip(t, err)
	}
	i.close()
}

// readings returns what a reader has of the sockets of a process, by descriptor,
// without what changes with time.
func readings(t testing.TB, reading Reading, cmd *exec.Cmd) map[int]string {
	t.Helper()
	f, err := Find(reading)
	require.NoError(t, err)
	defer f.Close()
	used, _ := f.Reading()
	require.Equal(t, reading, used)
	list := make(map[int]string)
	for s := range f.All(of(cmd)) {
		s.Status.SinceReceived, s.Status.SinceAck, s.Timer.Left = 0, 0, 0
		list[s.Holders[0].FD] = fmt.Sprint(s.Index >= 0, s.Holders, s.Local, s.Remote, s.State, s.MPTCP, s.NetNS, s.Cookie, s.Config, s.Status, s.Idle, s.InFlight, s.Timer, s.device)
	}
	return list
}

// Both readers have the same of sockets in many states.
func TestReadingsAgree(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needIterator(t)
	cmd := exec.Command("sleep", "1000")
	add := func(fd int) {
		file := os.NewFile(uintptr(fd), "socket")
		t.Cleanup(func() { file.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	socket := func(family int, flags int) int {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
		require.NoError(t, err)
		add(fd)
		return fd
	}
	for _, pair := range []struct {
		listener int
		to       unix.Sockaddr
	}{{unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}}, {unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}},
		{unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}}}} {
		ln := socket(pair.listener, 0)
		require.NoError(t, unix.Bind(ln, pair.to))
		require.NoError(t, unix.Listen(ln, 8))
		address, err := unix.Getsockname(ln)
		require.NoError(t, err)
		for _, shut := range []bool{false, true} {
			fd := socket(pair.listener, 0)
			require.NoError(t, unix.Connect(fd, address))
			accepted, _, err := unix.Accept4(ln, unix.SOCK_CLOEXEC)
			require.NoError(t, err)
			add(accepted)
			for option, value := range map[int]int{unix.TCP_KEEPIDLE: 61, unix.TCP_KEEPINTVL: 7, unix.TCP_KEEPCNT: 5, unix.TCP_USER_TIMEOUT: 70_001} {
				require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value))
			}
			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
			if shut {
				require.NoError(t, unix.Shutdown(fd, unix.SHUT_WR))
			}
		}
	}
	socket(unix.AF_INET, 0)
	bound := socket(unix.AF_INET6, 0)
	require.NoError(t, unix.Bind(bound, &unix.SockaddrInet6{}))
	require.NoError(t, unix.BindToDevice(socket(unix.AF_INET, 0), "lo"))
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP); err == nil {
		add(fd)
	}
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var byIterator, byDescriptor map[int]string
	for giveUp := time.Now().Add(time.Minute); time.Now().Before(giveUp); {
		byIterator, byDescriptor = readings(t, ByIterator, cmd), readings(t, ByDescriptor, cmd)
		if maps.Equal(byIterator, byDescriptor) { // no other command has a duplicate
			break
		}
	}
	assert.Equal(t, byDescriptor, byIterator)
	assert.Len(t, byIterator, len(cmd.ExtraFiles))
	assert.Equal(t, 3, slices.Min(slices.Collect(maps.Keys(byIterator))))
}

// Each option has its fields in the kernel.
func TestEveryOptionIsRead(t *testing.T) {
	t.Parallel()
	for i := range policy.Options {
		assert.Contains(t, kernelOptions, policy.Options[i].Key)
	}
}
