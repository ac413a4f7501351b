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

// It may be one of two that are under way.
func TestLostMayWaitForOneOfTwoCalls(t *testing.T) {
	conn, loss := resetConn(t), os.NewSyscallError("read", syscall.ETIMEDOUT)
	calls := make(chan error, 2)
	w := watch(conn, func(error) { assertReturns(t, loss, calls) })
	_ = w.begin()
	_ = w.begin()
	w.mu.Lock()
	tell := w.noteEnd(loss)
	w.mu.Unlock()
	for range cap(calls) {
		go func() { calls <- w.end(true, io.EOF) }()
	}
	tell()
	assertReturns(t, loss, calls)
}

// A loss that was left to the calls under way is told of when none returns it.
func TestLossThatNoCallReturns(t *testing.T) {
	needEvents(t)
	for _, end := range []error{nil, os.ErrDeadlineExceeded} {
		conn, peer := pairOf(t)
		netlab.MustSilence(t, peer)
		require.NoError(t, Config{UserTimeout: time.Millisecond}.Apply(conn))
		lost := make(chan error, 2)
		w := watch(conn, func(err error) { lost <- err })
		require.NoError(t, w.register())
		first, second := w.begin(), w.begin()
		_, err := conn.Write([]byte("x"))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.missed
		}, long, time.Millisecond)
		returned := make(chan error, 1)
		go func() { returned <- w.end(first, end) }()
		assert.Empty(t, lost)
		w.end(second, end)
		<-returned
		select {
		case err := <-lost:
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		case <-time.After(long):
			t.Error("nobody is told")
		}
		w.Close()
		assert.Empty(t, lost)
	}
}

// The kernel returns an error once. Each of two connections around one socket has it,
// and is told of it if it is a loss.
func TestTwoConnectionsShareAnEnd(t *testing.T) {
	needEvents(t)
	reset := resetConn(t)
	for _, end := range []error{os.NewSyscallError("read", syscall.ETIMEDOUT), os.NewSyscallError("read", syscall.ECONNRESET)} {
		for _, spread := range []bool{true, false} {
			lost := make(chan error, 3)
			var both [2]*watchedConn
			for i := range both {
				both[i] = watch(reset, func(err error) { lost <- err })
				require.NoError(t, both[i].register())
			}
			if spread {
				assert.Equal(t, end, both[1].end(both[1].begin(), end))
			} else {
				both[1].mu.Lock()
				both[1].err = end
				both[1].mu.Unlock()
				both[1].hearEnd(true)
			}
			assert.Equal(t, end, both[0].end(both[0].begin(), io.EOF))
			if IsPeerLost(end) {
				assert.Equal(t, end, <-lost)
			} else {
				assert.Nil(t, watch(reset, nil).noteEnd(end), "there is nothing to tell")
			}
			for _, w := range both {
				w.unregister()
			}
			if spread && IsPeerLost(end) {
				assert.Equal(t, end, <-lost)
			}
			assert.Empty(t, lost)
		}
	}
}

// A copy that fails for a reason of its other end is no loss, although the peer has
// been given up.
func TestCopyToAnEndThatFails(t *testing.T) {
	needEvents(t)
	conn, peer := pairOf(t)
	netlab.MustSilence(t, peer)
	require.NoError(t, Config{UserTimeout: time.Millisecond}.Apply(conn))
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return gaveUp(conn) }, long, time.Millisecond)
	w := watch(conn, func(err error) { t.Error(err) })
	assert.Equal(t, io.ErrClosedPipe, w.endCopy(w.beginCopy(), io.ErrClosedPipe))
	assert.NoError(t, w.err)
}

// Where the other call has not lost the peer either, each keeps its error.
func TestWatchOfTwoCallsThatAreReset(t *testing.T) {
	w := watch(resetConn(t), func(err error) { t.Error(err) })
	first := endOfTwo(t, w)
	assert.Equal(t, syscall.ECONNRESET, w.end(true, syscall.ECONNRESET))
	assertReturns(t, io.EOF, first)
}
