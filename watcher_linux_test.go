//go:build !keepalive_portable

package keepalive

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (u *unackedLimit) looking() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.timer != nil && !u.stopped
}

// The kernel is asked nothing while nothing is in flight.
func TestUnackedLooksOnlyAtDataInFlight(t *testing.T) {
	needEvents(t)
	conn, peer := pairOf(t)
	watched, err := (&Watcher{Unacked: time.Second}).Watch(conn)
	require.NoError(t, err)
	u := watched.(*watchedStream).unacked
	ends := func() bool { return !u.looking() }
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

	watched.Close()
	u.enter()
	assert.False(t, u.looking(), "after Close")
}

// A connection that was dropped with data in flight is collected.
func TestDroppedConnectionsWithDataInFlight(t *testing.T) {
	needEvents(t)
	awaitNothingWatched(t)
	conn, peer := pairOf(t)
	netlab.MustSilence(t, peer)
	w := &Watcher{Unacked: time.Second, Lost: func(net.Conn, error) { t.Error("lost") }}
	watched, err := w.Watch(conn)
	require.NoError(t, err)
	_, err = watched.Write([]byte("x"))
	require.NoError(t, err)
	assert.True(t, watched.(*watchedStream).unacked.looking())
	watched = nil
	awaitNothingWatched(t)
}
