//go:build !keepalive_portable

package status

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
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

// needsEvents skips where the kernel's events are not used.
func needsEvents(t *testing.T) {
	t.Helper()
	tcptest.NeedTCPInfo(t)
}

// listen returns a function for Watch, and what that is told.
func listen() (lost func(error), losses chan error) {
	losses = make(chan error, 100)
	return func(err error) { losses <- err }, losses
}

func assertKeeps(t *testing.T, conn net.Conn, want error) {
	t.Helper()
	for range 3 {
		assert.ErrorIs(t, tcptest.Err(conn.Read(make([]byte, 1))), want)
		assert.ErrorIs(t, tcptest.Err(conn.Write(make([]byte, 1))), want)
		assert.ErrorIs(t, tcptest.Err(io.Copy(io.Discard, conn)), want)
		assert.ErrorIs(t, tcptest.Err(io.Copy(conn, io.LimitReader(zero{}, 1))), want)
	}
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { return len(b), nil }

// A connection that nobody reads is told of when the kernel gives the peer up.
func TestWatchTellsAtOnce(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	over := map[string]func(net.Conn) net.Conn{
		"bare":        func(conn net.Conn) net.Conn { return conn },
		"NetConn":     tcptest.Wrap,
		"TLS":         func(conn net.Conn) net.Conn { return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) },
		"watched":     func(conn net.Conn) net.Conn { return keepalive.Watch(conn, nil) },
		"SyscallConn": func(conn net.Conn) net.Conn { return &credited{TCPConn: conn.(*net.TCPConn)} },
	}
	for name, wrap := range over {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lost, losses := listen()
			conn, since := tcptest.DialSilent(t, tcptest.Quick)
			watched := keepalive.Watch(wrap(conn), lost)
			err := awaitError(t, losses)
			tcptest.AssertWithin(t, since, 4*time.Second, 4*time.Second*9/8+500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			assert.True(t, keepalive.IsPeerLost(err))
			assert.ErrorContains(t, err, "read tcp "+conn.LocalAddr().String()+"->"+conn.RemoteAddr().String()+": read: connection timed out")
			if name == "bare" {
				assertKeeps(t, watched, syscall.ETIMEDOUT)
			}
			if name != "SyscallConn" && name != "TLS" {
				assert.Equal(t, err, tcptest.Err(watched.Read(make([]byte, 1))))
				assert.Equal(t, err, tcptest.Err(watched.Write(make([]byte, 1))))
			}
			watched.Close()
			assert.Empty(t, losses)
		})
	}
}

// A connection that was lost before it is watched is told of too.
func TestWatchOfALostConnection(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	conn, _ := tcptest.DialSilent(t, tcptest.Quick)
	tcptest.Await(t, "the loss", func() bool { s, _ := keepalive.Stat(conn); return !s.Open })
	first, firsts := listen()
	defer runtime.KeepAlive(keepalive.Watch(conn, first))
	assert.ErrorIs(t, awaitError(t, firsts), syscall.ETIMEDOUT)
	second, seconds := listen()
	defer runtime.KeepAlive(keepalive.Watch(conn, second))
	assert.ErrorIs(t, awaitError(t, seconds), syscall.ETIMEDOUT)
	assert.Empty(t, firsts)
}

// A reset is what all calls return, but no loss.
func TestWatchKeepsAReset(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn := keepalive.Watch(dialed, func(err error) { t.Error(err) })
	require.NoError(t, tcptest.Err(accepted.Write([]byte("last words"))))
	tcptest.AwaitAcked(t, accepted)
	require.NoError(t, accepted.(*net.TCPConn).SetLinger(0))
	require.NoError(t, accepted.Close())
	tcptest.Await(t, "the reset", func() bool { s, _ := keepalive.Stat(conn); return !s.Open })
	words := make([]byte, 10)
	require.NoError(t, tcptest.Err(io.ReadFull(conn, words)))
	assert.Equal(t, "last words", string(words))
	assertKeeps(t, conn, syscall.ECONNRESET)
}

// A copy that finds the reset keeps it too.
func TestWatchKeepsAResetOfACopy(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	copies := map[string]func(net.Conn) error{
		"WriteTo":  func(conn net.Conn) error { return tcptest.Err(io.Copy(io.Discard, conn)) },
		"ReadFrom": func(conn net.Conn) error { return tcptest.Err(io.Copy(conn, io.LimitReader(zero{}, 1))) },
	}
	for name, do := range copies {
		t.Run(name, func(t *testing.T) {
			dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
			conn := keepalive.Watch(dialed, func(err error) { t.Error(err) })
			require.NoError(t, accepted.(*net.TCPConn).SetLinger(0))
			require.NoError(t, accepted.Close())
			tcptest.Await(t, "the reset", func() bool { s, _ := keepalive.Stat(conn); return !s.Open })
			assert.ErrorIs(t, do(conn), syscall.ECONNRESET)
			assertKeeps(t, conn, syscall.ECONNRESET)
		})
	}
}

// A TLS session that the peer has ended in good order ends so, although a reset
// follows: the peer has closed the socket with data unread.
func TestWatchOfATLSSessionBeforeAReset(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	serverConfig, clientConfig := tcptest.TLSConfigs(t)
	server, session := tls.Server(accepted, serverConfig), tls.Client(dialed, clientConfig)
	handshake := make(chan error, 1)
	go func() { handshake <- server.Handshake() }()
	require.NoError(t, session.Handshake())
	require.NoError(t, <-handshake)

	conn := keepalive.Watch(session, func(err error) { t.Error(err) })
	require.NoError(t, tcptest.Err(conn.Write([]byte("unread"))))
	require.NoError(t, tcptest.Err(server.Write([]byte("last words"))))
	tcptest.AwaitAcked(t, dialed)
	require.NoError(t, server.Close())
	tcptest.Await(t, "the reset", func() bool { s, _ := keepalive.Stat(conn); return !s.Open })
	lost, losses := listen() // its event follows the reset
	other, _ := tcptest.DialSilent(t, tcptest.Quick)
	defer runtime.KeepAlive(keepalive.Watch(other, lost))
	awaitError(t, losses)
	words, err := io.ReadAll(conn)
	assert.NoError(t, err)
	assert.Equal(t, "last words", string(words))
}

// What arrived before the loss can be read after it, and the end of a peer that
// has closed in good order is no error.
func TestWatchKeepsWhatArrivedBefore(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	lost, losses := listen()
	dialed, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: tcptest.Quick}, tcptest.PlainListen(t, "tcp4"))
	conn := keepalive.Watch(dialed, lost)
	require.NoError(t, tcptest.Err(accepted.Write([]byte("last words"))))
	tcptest.AwaitAcked(t, accepted)
	netlab.MustSilence(t, accepted.(*net.TCPConn))
	assert.ErrorIs(t, awaitError(t, losses), syscall.ETIMEDOUT)
	words, err := io.ReadAll(conn)
	assert.Equal(t, "last words", string(words))
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)

	dialed, accepted = tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	ended := keepalive.Watch(dialed, func(err error) { t.Error(err) })
	require.NoError(t, accepted.Close())
	// A process that another test starts may hold the closed end for a moment.
	tcptest.Await(t, "its end", func() bool { return tcptest.TCPInfo(t, dialed).State == unix.BPF_TCP_CLOSE_WAIT })
	require.NoError(t, tcptest.Err(ended.Write([]byte("x")))) // is answered with a reset
	tcptest.Await(t, "the reset", func() bool { s, _ := keepalive.Stat(ended); return !s.Open })
	assert.Equal(t, io.EOF, tcptest.Err(ended.Read(make([]byte, 1))))
	assert.ErrorIs(t, tcptest.Err(ended.Write([]byte("x"))), syscall.EPIPE)
}

// A peer that has closed its end in good order is not lost, although data was
// retransmitted before it answered with a reset.
func TestWatchOfARetransmissionBeforeAReset(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn, peer := keepalive.Watch(dialed, func(err error) { t.Error(err) }), accepted.(*net.TCPConn)
	require.NoError(t, peer.CloseWrite())
	tcptest.Await(t, "its end", func() bool { return tcptest.TCPInfo(t, dialed).State == unix.BPF_TCP_CLOSE_WAIT })
	netlab.MustSilence(t, peer)
	require.NoError(t, tcptest.Write(conn))
	awaitStatus(t, dialed, "a retransmission", func(s keepalive.Status) bool { return s.Retransmits > 0 })
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, netlab.Wake(peer))
	require.NoError(t, peer.Close())
	awaitStatus(t, dialed, "the reset", isClosed)
	lost, losses := listen() // its event follows the reset
	other, _ := losing(t, lost)
	require.NoError(t, tcptest.Err(other.Write([]byte("x"))))
	awaitError(t, losses)
	assert.NoError(t, other.Close()) // which kept it from being collected
	assert.Equal(t, io.EOF, tcptest.Read(conn))
	assert.ErrorIs(t, tcptest.Write(conn), syscall.EPIPE)
}

// A lost that takes its time delays neither other connections nor the calls on its
// own. It may wait for a call, read, and close the connection.
func TestWatchOfASlowLost(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	slow, fast := make(chan error, 1), make(chan error, 1)
	done := make(chan struct{})
	defer close(done)
	dial := func(lost func(error)) net.Conn {
		conn, _ := tcptest.DialSilent(t, tcptest.Quick)
		return keepalive.Watch(conn, lost)
	}
	var conn net.Conn
	conn = dial(func(err error) {
		assert.Equal(t, err, tcptest.Err(conn.Read(make([]byte, 1))))
		assert.Equal(t, err, tcptest.Err(io.Copy(io.Discard, conn)))
		slow <- err
		<-done
		conn.Close()
	})
	defer runtime.KeepAlive(dial(func(err error) { fast <- err }))
	assert.ErrorIs(t, awaitError(t, slow), syscall.ETIMEDOUT)
	assert.ErrorIs(t, awaitError(t, fast), syscall.ETIMEDOUT)
	assert.ErrorIs(t, tcptest.Err(conn.Read(make([]byte, 1))), syscall.ETIMEDOUT)
}

// A Read of TLS that is under way returns the loss, once lost has returned.
func TestWatchOfAReadOverTLS(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	server, client := tcptest.TLSConfigs(t)
	for i := range 20 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			dialed, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: tcptest.Quick}, tcptest.PlainListen(t, "tcp4"))
			inner, peer := tls.Client(dialed, client), tls.Server(accepted, server)
			go peer.Handshake()
			require.NoError(t, inner.Handshake())
			require.NoError(t, tcptest.Err(inner.Write([]byte("x"))))
			require.NoError(t, tcptest.Err(peer.Read(make([]byte, 1))))
			tcptest.AwaitAcked(t, dialed, accepted)
			var told atomic.Bool
			conn := keepalive.Watch(inner, func(err error) {
				time.Sleep(50 * time.Millisecond)
				told.Store(true)
			})
			netlab.MustSilence(t, accepted.(*net.TCPConn))
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			var err error
			if i%2 == 0 {
				err = tcptest.Err(conn.Read(make([]byte, 1)))
			} else {
				err = tcptest.Err(io.Copy(io.Discard, conn))
			}
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			assert.True(t, told.Load())
			assert.Equal(t, err, tcptest.Err(conn.Write([]byte("x"))))
			assert.Equal(t, err, tcptest.Err(conn.Read(make([]byte, 1))))
		})
	}
}

// Each of two Watches around one socket is told, whether or not a call is under
// way on one of them.
func TestWatchTwice(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	for _, reading := range []bool{false, true} {
		for _, nested := range []bool{false, true} {
			conn, _ := tcptest.DialSilent(t, tcptest.Quick)
			lost, losses := listen()
			first := keepalive.Watch(conn, lost)
			inner := conn
			if nested {
				inner = first
			}
			second := keepalive.Watch(inner, lost)
			if reading {
				go second.Read(make([]byte, 1))
			}
			t.Run("", func(t *testing.T) {
				t.Parallel()
				err := awaitError(t, losses)
				assert.ErrorIs(t, err, syscall.ETIMEDOUT)
				assert.Equal(t, err, awaitError(t, losses))
				assert.Equal(t, err, tcptest.Err(first.Read(make([]byte, 1))))
				assert.Equal(t, err, tcptest.Err(second.Read(make([]byte, 1))))
				assert.Empty(t, losses)
			})
		}
	}
}

// A duplicate keeps the socket open that was closed, whose number then is another
// connection's.
func TestWatchOfADuplicate(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	conn, _ := tcptest.DialSilent(t, tcptest.Quick)
	closed := keepalive.Watch(conn, func(err error) { t.Error("told after Close:", err) })
	file, err := conn.(*net.TCPConn).File()
	require.NoError(t, err)
	defer file.Close()
	inner, err := net.FileConn(file)
	require.NoError(t, err)
	require.NoError(t, tcptest.Quick.Apply(inner)) // net has set its own
	lost, losses := listen()
	duplicate := keepalive.Watch(inner, lost)
	defer duplicate.Close()
	closed.Close()

	dialed, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: tcptest.Quick}, tcptest.PlainListen(t, "tcp4"))
	other := keepalive.Watch(dialed, func(err error) { t.Error(err) })
	assert.ErrorIs(t, awaitError(t, losses), syscall.ETIMEDOUT)
	assert.ErrorIs(t, tcptest.Err(duplicate.Read(make([]byte, 1))), syscall.ETIMEDOUT)
	tcptest.Exchange(t, other, accepted)
}

// A connection that was closed past Watch is told of nothing, nor is one that has
// its number now.
func TestWatchOfAClosedInnerConnection(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	ln := tcptest.PlainListen(t, "tcp4")
	for range 50 {
		dialed, accepted := tcptest.Pair(t, new(net.Dialer), ln)
		first := keepalive.Watch(dialed, func(err error) { t.Error(err) })
		require.NoError(t, dialed.Close())
		next, _ := tcptest.Pair(t, new(net.Dialer), ln)
		second := keepalive.Watch(next, func(err error) { t.Error(err) })
		assert.ErrorIs(t, tcptest.Err(first.Read(make([]byte, 1))), net.ErrClosed)
		assert.ErrorIs(t, first.Close(), net.ErrClosed)
		accepted.Close()
		second.Close()
	}
}

// Many callers on many connections are each told of the loss.
func TestWatchOfManyCallers(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	var lost atomic.Int32
	var callers sync.WaitGroup
	const connections, each = 12, 15
	for range connections {
		conn, _ := tcptest.DialSilent(t, tcptest.Quick)
		watched := keepalive.Watch(conn, func(error) { lost.Add(1) })
		for range each {
			callers.Go(func() {
				assert.ErrorIs(t, tcptest.Err(watched.Read(make([]byte, 1))), syscall.ETIMEDOUT)
				assert.ErrorIs(t, tcptest.Err(watched.Write(make([]byte, 1))), syscall.ETIMEDOUT)
			})
		}
	}
	callers.Wait()
	assert.EqualValues(t, connections, lost.Load())
}

// A pool of database/sql hears of a connection that it only keeps.
func TestWatchInADatabasePool(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	ln := tcptest.PlainListen(t, "tcp4")
	lost, losses := listen()
	connector := &poolConnector{dial: func(ctx context.Context) (net.Conn, error) {
		conn, err := (&keepalive.Dialer{Config: tcptest.Quick}).DialContext(ctx, "tcp4", ln.Addr().String())
		if err != nil {
			return nil, err
		}
		return keepalive.Watch(conn, lost), nil
	}}
	db := sql.OpenDB(connector)
	defer db.Close()
	require.NoError(t, db.PingContext(t.Context()))
	peer := tcptest.Accept(t, ln)
	assert.Equal(t, 1, db.Stats().Idle)
	netlab.MustSilence(t, peer.(*net.TCPConn))
	assert.ErrorIs(t, awaitError(t, losses), syscall.ETIMEDOUT)
}

type poolConnector struct {
	driver.Connector
	dial func(context.Context) (net.Conn, error)
}

func (c *poolConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.dial(ctx)
	return poolConn{conn}, err
}

type poolConn struct{ net.Conn }

func (poolConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (poolConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }

// What the path has said of an open connection is no loss, whatever raises an
// event: here a time stamp in the error queue.
func TestWatchOfAnEventWithoutAnEnd(t *testing.T) {
	t.Parallel()
	needsEvents(t)
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	tcptest.SetsockoptInt(t, dialed, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_TX_ACK|unix.SOF_TIMESTAMPING_SOFTWARE)
	conn := keepalive.Watch(dialed, func(err error) { t.Error(err) })
	for range 10 {
		tcptest.Exchange(t, conn, accepted)
	}
}
