package keepalive_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failing is a connection whose calls fail as they are told.
type failing struct {
	net.Conn
	errs []error
}

func (f *failing) next() error {
	err := f.errs[0]
	if len(f.errs) > 1 {
		f.errs = f.errs[1:]
	}
	return err
}

func (f *failing) Read([]byte) (int, error)  { return 0, f.next() }
func (f *failing) Write([]byte) (int, error) { return 0, f.next() }

func lostPeer() error {
	return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", tcptest.ETIMEDOUT)}
}

func TestWatchKeepsReturningTheLoss(t *testing.T) {
	loss := lostPeer()
	var told []error
	conn := keepalive.Watch(&failing{errs: []error{os.ErrDeadlineExceeded, loss, io.EOF}}, func(err error) { told = append(told, err) })
	assert.Equal(t, os.ErrDeadlineExceeded, tcptest.Err(conn.Read(nil)))
	assert.Empty(t, told)
	for range 3 {
		assert.Equal(t, loss, tcptest.Err(conn.Read(nil)))
		assert.Equal(t, loss, tcptest.Err(conn.Write(nil)))
		assert.Equal(t, loss, tcptest.Err(io.Copy(io.Discard, conn)))
		assert.Equal(t, loss, tcptest.Err(conn.(io.ReaderFrom).ReadFrom(&failing{errs: []error{errors.New("of the source")}})))
	}
	assert.Equal(t, []error{loss}, told)

	told = nil
	conn = keepalive.Watch(&failing{errs: []error{loss}}, func(err error) { told = append(told, err) })
	for range 2 {
		assert.Equal(t, loss, tcptest.Err(conn.Read(nil)))
		assert.Equal(t, loss, tcptest.Err(io.Copy(io.Discard, conn)))
	}
	assert.Equal(t, []error{loss}, told, "although it comes twice")
}

// A call that succeeds does so after the loss too: data had arrived.
func TestWatchKeepsASuccess(t *testing.T) {
	conn := keepalive.Watch(&failing{errs: []error{lostPeer(), nil}}, nil)
	assert.True(t, keepalive.IsPeerLost(tcptest.Err(conn.Read(nil))))
	assert.NoError(t, tcptest.Err(conn.Read(nil)))
	assert.NoError(t, tcptest.Err(conn.Write(nil)))
	assert.NoError(t, tcptest.Err(conn.(io.ReaderFrom).ReadFrom(strings.NewReader(""))))
}

// A Read that ends at its deadline waits for no Write.
func TestWatchOfADeadlineDuringAWrite(t *testing.T) {
	dialed, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn := keepalive.Watch(dialed, nil)
	written := make(chan error, 1)
	go func() { written <- tcptest.Err(conn.Write(make([]byte, 64<<20))) }()
	conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	read := make(chan error, 1)
	go func() { read <- tcptest.Err(conn.Read(make([]byte, 1))) }()
	select {
	case err := <-read:
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Empty(t, written)
	case <-time.After(10 * time.Second):
		t.Error("Read goes on waiting")
	}
	conn.Close()
	assert.Error(t, <-written)
}

func TestWatchLeavesOtherErrorsAlone(t *testing.T) {
	for _, err := range []error{io.EOF, tcptest.ECONNRESET, os.ErrDeadlineExceeded, net.ErrClosed} {
		conn := keepalive.Watch(&failing{errs: []error{err}}, func(error) { t.Error("told of", err) })
		assert.Equal(t, err, tcptest.Err(conn.Read(nil)))
		assert.Equal(t, err, tcptest.Err(conn.Write(nil)))
	}
	closed := keepalive.Watch(&failing{errs: []error{lostPeer(), net.ErrClosed}}, nil)
	assert.True(t, keepalive.IsPeerLost(tcptest.Err(closed.Read(nil))))
	assert.Equal(t, net.ErrClosed, tcptest.Err(closed.Read(nil)), "after Close it is that")
	assert.Nil(t, keepalive.Watch(nil, nil))
}

func TestWatchKeepsTheConnectionsMethods(t *testing.T) {
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn := keepalive.Watch(dialed, nil)
	assert.Equal(t, dialed, conn.(interface{ NetConn() net.Conn }).NetConn())
	assert.Implements(t, (*syscall.Conn)(nil), conn)
	assert.NotImplements(t, (*syscall.Conn)(nil), keepalive.Watch(tls.Client(dialed, nil), nil))

	go func() {
		io.Copy(conn, io.LimitReader(zeros{}, 1<<20))
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	received, err := io.Copy(io.Discard, accepted)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, received)
	go func() {
		accepted.Write(make([]byte, 1<<20))
		accepted.Close()
	}()
	received, err = io.Copy(io.Discard, conn)
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, received)
	assert.Equal(t, io.EOF, tcptest.Err(conn.Read(make([]byte, 1))))

	type tlsConn interface{ ConnectionState() tls.ConnectionState }
	assert.Implements(t, (*tlsConn)(nil), keepalive.Watch(tls.Client(dialed, nil), nil))
	assert.EqualValues(t, 7, keepalive.Watch(session{}, nil).(tlsConn).ConnectionState().Version)
	assert.NotImplements(t, (*tlsConn)(nil), conn)

	// Who finds no CloseWrite calls Close.
	type closeWriter interface{ CloseWrite() error }
	pipe, _ := net.Pipe()
	conns := []net.Conn{dialed, tls.Client(dialed, nil), socketOnly{dialed}, pipe}
	for _, conn := range conns {
		conns = append(conns, struct {
			net.Conn
			tlsConn
		}{conn, session{}})
	}
	conns = append(conns, struct {
		*net.TCPConn
		tlsConn
	}{dialed.(*net.TCPConn), session{}}, struct {
		socketOnly
		tlsConn
	}{socketOnly{dialed}, session{}})
	for _, conn := range conns {
		watched := keepalive.Watch(conn, nil)
		_, had := conn.(closeWriter)
		_, has := watched.(closeWriter)
		assert.Equal(t, had, has, "CloseWrite of %T", conn)
		_, had = conn.(syscall.Conn)
		_, has = watched.(syscall.Conn)
		assert.Equal(t, had, has, "SyscallConn of %T", conn)
		_, had = conn.(tlsConn)
		_, has = watched.(tlsConn)
		assert.Equal(t, had, has, "ConnectionState of %T", conn)
	}
}

// A lost that panics leaves the connection as one that returns keeps it.
func TestWatchOutlivesAPanic(t *testing.T) {
	loss := lostPeer()
	conn := keepalive.Watch(&failing{errs: []error{loss, io.EOF}}, func(err error) { panic(err) })
	assert.PanicsWithValue(t, loss, func() { conn.Read(nil) })
	assert.Equal(t, loss, tcptest.Err(conn.Read(nil)))
	assert.Equal(t, loss, tcptest.Err(conn.Write(nil)))
}

// socketOnly has no CloseWrite.
type socketOnly struct{ net.Conn }

func (s socketOnly) SyscallConn() (syscall.RawConn, error) {
	return s.Conn.(syscall.Conn).SyscallConn()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// session is a connection over TLS.
type session struct{ net.Conn }

func (session) CloseWrite() error { return nil }

func (session) ConnectionState() tls.ConnectionState { return tls.ConnectionState{Version: 7} }

// The methods of a nil *net.TCPConn panic.
func TestWatchOfANilPointer(t *testing.T) {
	conn := keepalive.Watch((*net.TCPConn)(nil), func(error) { t.Error("lost") })
	n, err := conn.Write([]byte("x"))
	assert.Zero(t, n)
	assert.Error(t, err)
	n, err = conn.Read(nil)
	assert.Zero(t, n)
	for _, err := range []error{
		err, tcptest.Err(conn.Write(nil)), conn.Close(),
		conn.SetDeadline(time.Time{}), conn.SetReadDeadline(time.Time{}), conn.SetWriteDeadline(time.Time{}),
	} {
		assert.EqualError(t, err, "keepalive: got nil, want a connection")
	}
	assert.Nil(t, keepalive.Watch(nil, nil))
}
