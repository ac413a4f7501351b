//go:build !keepalive_portable

package keepalive

import (
	"errors"
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

const long = 10 * time.Second

// resetConn returns a connection that the peer has reset.
func resetConn(t *testing.T) net.Conn {
	t.Helper()
	conn, peer := pairOf(t)
	if _, err := Stat(conn); errors.Is(err, errors.ErrUnsupported) {
		netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO has no counts")
		t.Skipf("qemu-user: %v", err)
	}
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	require.Eventually(t, func() bool { return isClosed(conn) }, long, time.Millisecond)
	return conn
}

// endOfTwo ends one of two calls with io.EOF, and returns once that waits for
// the other one.
func endOfTwo(t *testing.T, w *watchedConn) <-chan error {
	t.Helper()
	_ = w.begin()
	_ = w.begin()
	first := make(chan error, 1)
	go func() { first <- w.end(true, io.EOF) }()
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.inFlight == 1 // it waits: else it holds mu
	}, long, time.Millisecond)
	assert.Empty(t, first)
	return first
}

func assertReturns(t *testing.T, want error, call <-chan error) {
	t.Helper()
	select {
	case err := <-call:
		assert.Equal(t, want, err)
	case <-time.After(long):
		t.Error("the call goes on waiting")
	}
}

// The call that waits may be what lost waits for.
func TestLostMayWaitForOtherCalls(t *testing.T) {
	conn, loss := resetConn(t), os.NewSyscallError("read", syscall.ETIMEDOUT)
	var first <-chan error
	w := watch(conn, func(error) { assertReturns(t, loss, first) })
	first = endOfTwo(t, w)
	assert.Equal(t, loss, w.end(true, loss))
	assert.Equal(t, loss, w.err)
}

// Where the other call has not lost the peer either, each keeps its error.
func TestWatchOfTwoCallsThatAreReset(t *testing.T) {
	w := watch(resetConn(t), func(err error) { t.Error(err) })
	first := endOfTwo(t, w)
	assert.Equal(t, syscall.ECONNRESET, w.end(true, syscall.ECONNRESET))
	assertReturns(t, io.EOF, first)
}
