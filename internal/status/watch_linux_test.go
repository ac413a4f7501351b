//go:build !keepalive_portable

package status

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// losing returns a watched connection whose peer is silent, and on which the
// kernel gives up 0.2 s after something was sent.
func losing(t *testing.T, lost func(error)) (conn net.Conn, peer *net.TCPConn) {
	t.Helper()
	dialed, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: keepalive.Config{UserTimeout: time.Millisecond}}, tcptest.PlainListen(t, "tcp4"))
	peer = accepted.(*net.TCPConn)
	netlab.MustSilence(t, peer)
	dialed.SetDeadline(time.Now().Add(10 * time.Second))
	return keepalive.Watch(dialed, lost), peer
}

// Read and Write are both under way when the peer is given up. The kernel gives
// the error to one of them.
func TestWatchTellsReadAndWrite(t *testing.T) {
	t.Parallel()
	var lost atomic.Int32
	const connections = 30
	results := make(chan error, 2*connections)
	for range connections {
		conn, _ := losing(t, func(error) { lost.Add(1) })
		go func() { results <- tcptest.Err(conn.Read(make([]byte, 1))) }()
		go func() {
			var err error
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<20))
			}
			results <- err
		}()
	}
	for range 2 * connections {
		assert.ErrorIs(t, <-results, syscall.ETIMEDOUT)
	}
	assert.EqualValues(t, connections, lost.Load())
}

// What arrived before the loss can be read after it.
func TestWatchKeepsWhatHadArrived(t *testing.T) {
	t.Parallel()
	dialed, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: keepalive.Config{UserTimeout: time.Millisecond}}, tcptest.PlainListen(t, "tcp4"))
	conn := keepalive.Watch(dialed, nil)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	require.NoError(t, tcptest.Err(accepted.Write([]byte("last words"))))
	tcptest.AwaitAcked(t, accepted)
	netlab.MustSilence(t, accepted.(*net.TCPConn))
	var err error
	for err == nil {
		_, err = conn.Write(make([]byte, 1<<20))
	}
	require.ErrorIs(t, err, syscall.ETIMEDOUT)
	words, err := io.ReadAll(conn)
	assert.Equal(t, "last words", string(words))
	assert.ErrorIs(t, err, syscall.ETIMEDOUT, "and not io.EOF")
}

// An error of a copy may be that of its other end.
func TestWatchTellsWhichEndOfACopyIsLost(t *testing.T) {
	t.Parallel()
	var lostFrom, lostTo atomic.Int32
	from, _ := losing(t, func(error) { lostFrom.Add(1) })
	to, _ := losing(t, func(error) { lostTo.Add(1) })
	to.SetDeadline(time.Time{})
	require.NoError(t, tcptest.Err(from.Write([]byte("x"))))
	assert.ErrorIs(t, tcptest.Err(io.Copy(to, from)), syscall.ETIMEDOUT)
	assert.EqualValues(t, 1, lostFrom.Load())
	assert.Zero(t, lostTo.Load())
	assert.ErrorIs(t, tcptest.Err(from.Read(make([]byte, 1))), syscall.ETIMEDOUT)

	source, sourcePeer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	go func() {
		for {
			if _, err := sourcePeer.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}()
	fine := keepalive.Watch(source, func(error) { t.Error("the source is fine") })
	assert.ErrorIs(t, tcptest.Err(io.Copy(to, fine)), syscall.ETIMEDOUT)
	assert.EqualValues(t, 1, lostTo.Load())
	sourcePeer.Close()
}

// A peer that closes its end in good order is not lost, whatever was closed
// before.
func TestWatchOfACleanClose(t *testing.T) {
	t.Parallel()
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn := keepalive.Watch(dialed, func(err error) { t.Error(err) })
	require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	require.NoError(t, accepted.Close())
	assert.Equal(t, io.EOF, tcptest.Err(conn.Read(make([]byte, 1))))
	assert.ErrorIs(t, tcptest.Err(conn.Write([]byte("x"))), syscall.EPIPE)
}
