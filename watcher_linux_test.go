//go:build !keepalive_portable

package keepalive

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (u *unackedLimit) armed() *time.Timer {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.timer
}

func (u *unackedLimit) looking() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.timer != nil && !u.stopped
}

// The kernel is asked nothing while nothing is in flight.
func TestUnackedLooksOnlyAtDataInFlight(t *testing.T) {
	needEvents(t)
	conn, peer := pairOf(t)
	watched, err := (&Watcher{Unacked: time.Hour}).Watch(conn) // its timer is not due here
	require.NoError(t, err)
	u := watched.(*watchedStream).unacked
	assert.True(t, u.looking())
	ends := func() bool {
		u.look()
		return !u.looking()
	}
	require.Eventually(t, ends, long, time.Millisecond, "of what was sent before")

	send := map[string]func(){
		"Write":      func() { watched.Write([]byte("x")) },
		"ReadFrom":   func() { watched.(*watchedStream).ReadFrom(&net.Buffers{[]byte("x")}) },
		"CloseWrite": func() { watched.(closeWriter).CloseWrite() },
	}
	for _, name := range []string{"Write", "ReadFrom", "CloseWrite"} {
		send[name]()
		assert.True(t, u.looking(), name)
		require.Eventually(t, ends, long, time.Millisecond, name)
	}
	peer.Write([]byte("x"))
	watched.Read(make([]byte, 1))
	assert.False(t, u.looking(), "Read")
	peer.CloseWrite()
	io.Copy(io.Discard, watched)
	assert.False(t, u.looking(), "WriteTo")

	u.enter()
	u.look()
	assert.True(t, u.looking(), "a call that may still send")
	timer := u.armed()
	u.start()
	assert.Same(t, timer, u.armed(), "one at a time")
	u.leave()
	require.Eventually(t, ends, long, time.Millisecond)

	watched.Close()
	u.enter()
	assert.Nil(t, u.armed(), "after Close")
}

// The zero Watcher leaves data in flight to the kernel, and tells nobody.
func TestZeroWatcher(t *testing.T) {
	needEvents(t)
	conn, _ := pairOf(t)
	watched, err := new(Watcher).Watch(conn)
	require.NoError(t, err)
	w := watched.(*watchedStream).watchedConn
	assert.Nil(t, w.unacked)
	loss := os.NewSyscallError("read", syscall.ETIMEDOUT)
	assert.Equal(t, loss, w.end(w.begin(), loss))
}

// A connection that was dropped with data in flight is collected.
func TestDroppedConnectionsWithDataInFlight(t *testing.T) {
	needEvents(t)
	awaitNothingWatched(t)
	conn, peer := pairOf(t)
	netlab.MustSilence(t, peer)
	// The peer is not given up before the connection is collected, however long that
	// takes, and the timer remains armed.
	w := &Watcher{Unacked: time.Hour, Lost: func(net.Conn, error) { t.Error("lost") }}
	watched, err := w.Watch(conn)
	require.NoError(t, err)
	_, err = watched.Write([]byte("x"))
	require.NoError(t, err)
	u := watched.(*watchedStream).unacked
	u.look() // of its timer
	assert.True(t, u.looking())
	watched = nil
	awaitNothingWatched(t)
	u.look() // of its timer
	u.stop()
}
