//go:build !keepalive_portable

package status

import (
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// The error of a call that was under way names that call, whoever hears of the loss
// first.
func TestWatchNamesTheCall(t *testing.T) {
	t.Parallel()
	const connections = 150
	results := make(chan error, connections)
	for range connections {
		conn, _ := losing(t, nil)
		tcptest.SetsockoptInt(t, conn, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
		go func() { results <- tcptest.Err(conn.Write(make([]byte, 1<<20))) }()
	}
	for range connections {
		err := <-results
		assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		assert.ErrorContains(t, err, "write tcp ")
	}
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

// A source that has ended in good order, with data that is still to be copied, is
// not blamed for the loss of the other end.
func TestWatchOfASourceThatHasEnded(t *testing.T) {
	t.Parallel()
	to, _ := losing(t, nil)
	to.SetDeadline(time.Time{})
	tcptest.SetsockoptInt(t, to, unix.SOL_SOCKET, unix.SO_SNDBUF, 1)
	source, sourcePeer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	require.NoError(t, tcptest.Err(sourcePeer.Write(make([]byte, 48<<10))))
	require.NoError(t, sourcePeer.Close())
	require.NoError(t, source.(*net.TCPConn).CloseWrite())
	tcptest.Await(t, "the end", func() bool { return tcptest.TCPInfo(t, source).State == unix.BPF_TCP_CLOSE })
	ended := keepalive.Watch(source, func(err error) { t.Error("the source has ended in good order:", err) })
	require.NoError(t, tcptest.Err(io.Copy(struct{ io.Writer }{to}, io.LimitReader(ended, 1))))
	assert.ErrorIs(t, tcptest.Err(io.Copy(to, ended)), syscall.ETIMEDOUT)
	assert.NoError(t, tcptest.Err(io.ReadAll(ended)))
}

// fastOpen enters a new namespace and returns a dialer. The first Write to one of its
// connections connects.
func fastOpen(t *testing.T) *keepalive.Dialer {
	t.Helper()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_fastopen", "1029") // TFO_CLIENT_ENABLE | TFO_CLIENT_NO_COOKIE | TFO_SERVER_WO_SOCKOPT1
	return &keepalive.Dialer{Config: tcptest.Quick, NetDialer: &net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		tcptest.SetsockoptInt(t, tcptest.RawSocket{RawConn: rc}, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
		return nil
	}}}
}

func TestWatchOfFastOpen(t *testing.T) {
	t.Parallel()
	d := fastOpen(t)
	ln := tcptest.PlainListen(t, "tcp4")
	conn := tcptest.Dial(t, d, ln)
	s, err := keepalive.Stat(conn)
	assert.NoError(t, err)
	assert.Equal(t, keepalive.Status{Open: true}, s, "no SYN was sent")
	established := make(chan error, 1)
	watched := keepalive.Watch(conn, func(err error) { established <- err })
	require.NoError(t, tcptest.Write(watched))
	netlab.MustSilence(t, tcptest.Accept(t, ln).(*net.TCPConn))
	assert.ErrorIs(t, tcptest.Read(watched), syscall.ETIMEDOUT)
	assert.ErrorIs(t, awaitError(t, established), syscall.ETIMEDOUT)
}

// A connection that was never established had no peer to lose: Read and Write return
// the error of connect. Some Reads of net return that the socket is not pollable.
func TestWatchOfARefusedFastOpen(t *testing.T) {
	t.Parallel()
	d := fastOpen(t)
	other, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	for i := range 4500 {
		refused, err := d.DialContext(t.Context(), "tcp4", tcptest.Refused)
		require.NoError(t, err)
		require.NoError(t, refused.SetDeadline(time.Now().Add(time.Minute)))
		watched := keepalive.Watch(refused, func(err error) { t.Error("there was no peer to lose:", err) })
		err = tcptest.Write(watched)
		switch {
		case err != nil:
		case i%3 == 0:
			err = tcptest.Read(watched)
		case i%3 == 1:
			err = tcptest.Err(io.Copy(io.Discard, watched))
		default: // splice(2)
			err = tcptest.Err(io.Copy(other, watched))
		}
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoError(t, watched.Close())
	}
}

// credited is a connection whose Write waits until the reader grants credit, as
// that of a protocol with flow control does.
type credited struct {
	*net.TCPConn
	waits, credit, done chan struct{}
}

func (c *credited) Write(b []byte) (int, error) {
	c.waits <- struct{}{}
	select {
	case <-c.credit:
		return c.TCPConn.Write(b)
	case <-c.done:
		return 0, io.ErrClosedPipe
	}
}

// A Read waits for no Write that something else than the kernel blocks.
func TestWatchDoesNotWaitForWhatTheReaderDoes(t *testing.T) {
	t.Parallel()
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	inner := &credited{dialed.(*net.TCPConn), make(chan struct{}, 1), make(chan struct{}), make(chan struct{})}
	conn := keepalive.Watch(inner, nil)
	written := make(chan error, 1)
	go func() { written <- tcptest.Err(conn.Write([]byte("x"))) }()
	tcptest.Await(t, "a Write", func() bool { return len(inner.waits) == 1 })

	require.NoError(t, accepted.(*net.TCPConn).SetLinger(0))
	require.NoError(t, accepted.Close())
	read := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		close(inner.done)
		read <- err
	}()
	assert.ErrorIs(t, awaitError(t, read), syscall.ECONNRESET)
	assert.ErrorIs(t, awaitError(t, written), syscall.ECONNRESET, "in place of io.ErrClosedPipe")
}

// An MPTCP connection whose only subflow has ended goes on for a minute, and so
// does a Read of it, for which a Write that fails must not wait.
func TestWatchDoesNotWaitForMPTCP(t *testing.T) {
	t.Parallel()
	tcptest.MPTCPListen(t) // skips where there is none
	l := netlab.NewLab(t, netlab.Rules{})
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	d := &keepalive.Dialer{NetDialer: tcptest.MPTCPDialer(), Config: tcptest.Quick}
	dialed, accepted := tcptest.Pair(t, tcptest.DialFunc(l.Client.Within(d.DialContext)), l.Server.Listen(t, &lc, "tcp4", 0))
	require.Equal(t, unix.IPPROTO_MPTCP, tcptest.Protocol(t, dialed))
	tcptest.Exchange(t, dialed, accepted)
	tcptest.AwaitAcked(t, dialed, accepted)
	l.Block(t)
	conn := keepalive.Watch(dialed, nil)
	read := make(chan error, 1)
	go func() { read <- tcptest.Err(conn.Read(make([]byte, 1))) }()
	awaitStatus(t, conn, "the end of the subflow", isClosed)

	conn.SetWriteDeadline(time.Now())
	write := make(chan error, 1)
	go func() { write <- tcptest.Err(conn.Write([]byte("x"))) }()
	assert.ErrorIs(t, awaitError(t, write), os.ErrDeadlineExceeded)
	assert.Empty(t, read)
	conn.Close()
	assert.ErrorIs(t, awaitError(t, read), net.ErrClosed)
}

func awaitError(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(10 * time.Second):
		require.Fail(t, "nothing has returned for 10 s")
		return nil
	}
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
