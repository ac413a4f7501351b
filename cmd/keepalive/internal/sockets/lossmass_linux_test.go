package sockets

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// crowdOf connects n sockets to listeners that accept none, in the network namespace
// of the calling thread, takes its network down and turns keepalive on: all of them
// are lost at nearly the same time.
func crowdOf(t testing.TB, n int) (fds []int) {
	t.Helper()
	allowFiles(t, 20000) // for both tests at the same time
	const backlog = 4000 // below net.core.somaxconn
	var address unix.Sockaddr
	for i := range n {
		if i%backlog == 0 {
			ln := newSocket(t)
			require.NoError(t, unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
			require.NoError(t, unix.Listen(ln, backlog+1))
			var err error
			address, err = unix.Getsockname(ln)
			require.NoError(t, err)
		}
		fd := newSocket(t)
		require.NoError(t, unix.Connect(fd, address))
		for option, value := range map[int]int{unix.TCP_KEEPIDLE: 1, unix.TCP_KEEPINTVL: 1, unix.TCP_KEEPCNT: 1} {
			require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value))
		}
		fds = append(fds, fd)
	}
	out, err := exec.Command(netlab.LookPath(t, "ip"), "link", "set", "lo", "down").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, fd := range fds {
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	}
	return fds
}

// allowFiles lets this process open so many files.
func allowFiles(t testing.TB, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	if limit.Cur < n {
		limit.Cur, limit.Max = n, max(n, limit.Max)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			netlab.Skip(t, err)
		}
	}
}

// awaitLost waits until the kernel has given up all peers.
func awaitLost(t testing.TB, fds []int) {
	t.Helper()
	giveUp := time.Now().Add(time.Minute)
	for _, fd := range fds {
		for {
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			require.NoError(t, err)
			if info.State == unix.BPF_TCP_CLOSE {
				break
			}
			require.True(t, time.Now().Before(giveUp))
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// 10,000 losses within a second are all reported, once.
func TestManyLosses(t *testing.T) {
	t.Parallel()
	losses := watchLosses(t, RingSize, false)
	netlab.NewNamespace(t)
	const n = 10000
	crowdOf(t, n)
	seen := make(map[uint64]bool)
	var first, last time.Time
	for _, l := range allIn(t, losses, n, ownNamespace(t)) {
		require.False(t, seen[l.Socket.Cookie], "reported twice")
		seen[l.Socket.Cookie] = true
		if first.IsZero() {
			first = l.Time
		}
		last = l.Time
		require.Equal(t, ByKeepAlive, l.Cause)
	}
	t.Logf("%d losses in %v", len(seen), last.Sub(first))
	missed, err := losses.Missed()
	require.NoError(t, err)
	assert.Zero(t, missed)
}

// What does not fit into the ring is counted.
func TestMissedLosses(t *testing.T) {
	t.Parallel()
	losses := watchLosses(t, 4096, false)
	netlab.NewNamespace(t)
	const n = 3000 // more than fit into the ring and the channel behind it
	awaitLost(t, crowdOf(t, n))
	missed, err := losses.Missed()
	require.NoError(t, err)
	assert.Positive(t, missed)
	read := 0 // those of other tests, too
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		batch, err := losses.Next(ctx)
		cancel()
		if read += len(batch); err != nil || read > n {
			break
		}
	}
	if missed, err = losses.Missed(); !isBlind() {
		assert.GreaterOrEqual(t, read+int(missed), n)
	}
	require.NoError(t, err)
}
