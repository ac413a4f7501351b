//go:build !keepalive_portable

package keepalive

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// epollDescriptors counts those that watch a socket of this process, beside that
// of Go's runtime.
func epollDescriptors(t *testing.T) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == "anon_inode:[eventpoll]" {
			n++
		}
	}
	return n - 1
}

const pollFunction = ".(*endPoller).poll("

func stacks() string {
	text := make([]byte, 1<<20)
	return string(text[:runtime.Stack(text, true)])
}

func pollGoroutines() int { return strings.Count(stacks(), pollFunction) }

// pollStack returns the stack of the goroutine that waits for events.
func pollStack() string {
	for stack := range strings.SplitSeq(stacks(), "\n\n") {
		if strings.Contains(stack, pollFunction) {
			return stack
		}
	}
	return ""
}

func watchedSockets() int {
	endPoll.mu.Lock()
	defer endPoll.mu.Unlock()
	return len(endPoll.byID)
}

// awaitNothingWatched collects what other tests have dropped.
func awaitNothingWatched(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		runtime.GC()
		return watchedSockets() == 0 && pollGoroutines() == 0 && epollDescriptors(t) == 0
	}, long, time.Millisecond)
}

// pairOf returns both ends of a connection, which are closed when the test ends.
func pairOf(t testing.TB) (conn, peer *net.TCPConn) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	dialed, err := net.Dial("tcp4", ln.Addr().String())
	require.NoError(t, err)
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		dialed.Close()
		accepted.Close()
	})
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

// needEvents skips where the kernel's events are not used.
func needEvents(t *testing.T) {
	t.Helper()
	conn, _ := pairOf(t)
	w := watch(conn, nil)
	if err := w.register(); err != nil {
		netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO has no counts")
		t.Skipf("qemu-user: %v", err)
	}
	w.unregister()
}

// A process has one goroutine and one descriptor while anything is watched, and
// nothing once all connections are closed, however they are.
func TestNothingIsLeftOfWatchedConnections(t *testing.T) {
	needEvents(t)
	awaitNothingWatched(t)
	var watched []net.Conn
	for range 20 {
		conn, peer := pairOf(t)
		watched = append(watched, Watch(conn, nil), Watch(peer, nil), Watch(conn, nil))
	}
	assert.Equal(t, 40, watchedSockets())
	assert.Equal(t, 1, pollGoroutines())
	assert.Equal(t, 1, epollDescriptors(t))
	require.Eventually(t, func() bool { return strings.Contains(pollStack(), "[IO wait") }, long, time.Millisecond, "it waits for events")

	for i, conn := range watched {
		if i%2 == 0 {
			conn.(interface{ NetConn() net.Conn }).NetConn().Close() // and the wrapper stays
		}
		conn.Close()
		conn.Close()
	}
	assert.Zero(t, watchedSockets())
	assert.Zero(t, epollDescriptors(t))
	awaitNothingWatched(t)
	assert.Nil(t, endPoll.epoll)
	runtime.KeepAlive(watched)
}

// A connection that was dropped is collected, and its descriptor closed with it.
func TestDroppedConnectionsAreCollected(t *testing.T) {
	needEvents(t)
	awaitNothingWatched(t)
	for range 20 {
		conn, peer := pairOf(t)
		Watch(conn, func(error) { conn.Close() })
		var self net.Conn
		self = Watch(peer, func(error) { self.Close() })
	}
	awaitNothingWatched(t)

	closed := make(chan error, 1)
	func() {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		dialed, err := net.Dial("tcp4", ln.Addr().String())
		require.NoError(t, err)
		Watch(dialed, nil)
		accepted, err := ln.Accept()
		require.NoError(t, err)
		go func() {
			accepted.SetDeadline(time.Now().Add(long))
			_, err := accepted.Read(make([]byte, 1))
			closed <- err
			accepted.Close()
		}()
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		return len(closed) == 1
	}, long, time.Millisecond)
	assert.EqualError(t, <-closed, "EOF")
	awaitNothingWatched(t)
}

// A duplicate keeps a socket open whose number is used again.
func TestWatchedDescriptorsAreUsedAgain(t *testing.T) {
	needEvents(t)
	awaitNothingWatched(t)
	for i := range 20 {
		conn, _ := pairOf(t)
		first := Watch(conn, nil)
		file, err := conn.File()
		require.NoError(t, err)
		require.NoError(t, conn.Close()) // the kernel keeps its entry
		var other net.Conn
		if i%2 == 0 { // and this process does not
			conn, _ := pairOf(t)
			other = Watch(conn, nil)
			first.Close()
		}
		again, err := net.FileConn(file) // the same socket, maybe of the same number
		require.NoError(t, err)
		second := Watch(again, nil)
		assert.GreaterOrEqual(t, watchedSockets(), 1)
		first.Close()
		if other != nil {
			other.Close()
		}
		assert.Equal(t, 1, watchedSockets())
		second.Close()
		file.Close()
		assert.Zero(t, watchedSockets())
	}
	awaitNothingWatched(t)
}

// A connection that was closed past Watch is told of nothing, although a duplicate of
// its socket may have its number and its entry.
func TestClosedConnectionsShareNoEnd(t *testing.T) {
	needEvents(t)
	for range 20 {
		conn, _ := pairOf(t)
		closed := watch(conn, nil)
		require.NoError(t, closed.register())
		file, err := conn.File()
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		again, err := net.FileConn(file)
		require.NoError(t, err)
		duplicate := watch(again, nil)
		require.NoError(t, duplicate.register())
		loss := os.NewSyscallError("read", syscall.ETIMEDOUT)
		assert.Equal(t, loss, duplicate.end(duplicate.begin(), loss))
		assert.NoError(t, closed.err)
		closed.Close()
		duplicate.Close()
		file.Close()
	}
}

// An event may be read after its connection was closed.
func TestEventOfAClosedConnection(t *testing.T) {
	needEvents(t)
	conn, _ := pairOf(t)
	w := watch(conn, func(err error) { t.Error(err) })
	require.NoError(t, w.register())
	w.Close()
	endPoll.pass(&unix.EpollEvent{Events: unix.EPOLLERR, Fd: int32(w.socket.id)})
	w.hearEnd(true)
	assert.NoError(t, w.err)
}

// Where the kernel refuses the socket Watch works without.
func TestWatchWithoutRegistration(t *testing.T) {
	conn := resetConn(t)
	require.NoError(t, conn.Close())
	w := Watch(conn, func(err error) { t.Error(err) })
	_, err := w.Read(nil)
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.Zero(t, w.(*watchedStream).socket)
}

// Connections are watched and closed by many goroutines, while the kernel ends
// others.
func TestWatchIsSafeForConcurrentUse(t *testing.T) {
	needEvents(t)
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			for range 30 {
				conn, peer := pairOf(t)
				w := Watch(conn, func(err error) { done <- fmt.Errorf("lost: %w", err) })
				peer.SetLinger(0)
				go peer.Close()
				w.Close()
			}
			done <- nil
		}()
	}
	for range cap(done) {
		assert.NoError(t, <-done)
	}
	awaitNothingWatched(t)
}
