package keepalive

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// Watch returns a connection that calls lost once when the peer of conn is lost,
// as [IsPeerLost] reports. Read and Write return the error from then on. Data that
// had arrived can still be read. After Close, calls return [net.ErrClosed].
//
// On Linux the kernel tells of a loss when it happens. lost is called by a Read or
// Write that is under way, before that returns, or in a goroutine of its own. It
// may be nil, close the connection, or wait for other calls. A reset is kept too.
// A read by way of SyscallConn or NetConn may return io.EOF instead.
//
// Elsewhere, and where [Watcher.Watch] returns an error, a Read or Write finds the
// loss. A concurrent one may return io.EOF or EPIPE.
//
// Splice and sendfile work as with conn. The result has SyscallConn, CloseWrite
// and ConnectionState if conn has them, but another type: put TLS around it, not
// inside.
func Watch(conn net.Conn, lost func(error)) net.Conn {
	if conn == nil {
		return nil
	}
	if isNilTCPConn(conn) {
		return nilConn{}
	}
	w := watch(conn, lost)
	w.register() // or the next Read or Write finds the loss
	return w.shaped()
}

func isNilTCPConn(conn net.Conn) bool {
	tcp, ok := conn.(*net.TCPConn)
	return ok && tcp == nil
}

// shaped returns w with the methods that its connection has. A TLS connection must
// not gain SyscallConn: a caller that finds it would read the bytes of TLS.
func (w *watchedConn) shaped() net.Conn {
	session, isTLS := w.Conn.(tlsConn)
	conn := w.shapedTransport()
	if !isTLS {
		return conn
	}
	switch c := conn.(type) {
	case *watchedStream:
		return &watchedTLSStream{c, session}
	case *watchedSocket:
		return &watchedTLSSocket{c, session}
	case *watchedHalf:
		return &watchedTLSHalf{c, session}
	}
	return &watchedTLS{w, session}
}

func (w *watchedConn) shapedTransport() net.Conn {
	socket, isSocket := w.Conn.(syscall.Conn)
	half, isHalf := w.Conn.(closeWriter)
	switch {
	case isSocket && isHalf:
		return &watchedStream{w, socket, &limitedHalf{half, w.unacked}}
	case isSocket:
		return &watchedSocket{w, socket}
	case isHalf:
		return &watchedHalf{w, &limitedHalf{half, w.unacked}}
	}
	return w
}

// closeWriter is implemented by what can close one direction. Code that finds
// no CloseWrite calls Close instead.
type closeWriter interface{ CloseWrite() error }

// tlsConn is implemented by [*tls.Conn]. net/http asks for it by interface from Go
// 1.27 on.
type tlsConn interface{ ConnectionState() tls.ConnectionState }

type (
	watchedStream struct {
		*watchedConn
		syscall.Conn
		closeWriter
	}
	watchedSocket struct {
		*watchedConn
		syscall.Conn
	}
	watchedHalf struct {
		*watchedConn
		closeWriter
	}
	watchedTLSStream struct {
		*watchedStream
		tlsConn
	}
	watchedTLSSocket struct {
		*watchedSocket
		tlsConn
	}
	watchedTLSHalf struct {
		*watchedHalf
		tlsConn
	}
	watchedTLS struct {
		*watchedConn
		tlsConn
	}
)

// nilConn stands for a nil *net.TCPConn, whose methods panic.
type nilConn struct{}

func (nilConn) Read([]byte) (int, error)         { return 0, errNilConn }
func (nilConn) Write([]byte) (int, error)        { return 0, errNilConn }
func (nilConn) Close() error                     { return errNilConn }
func (nilConn) LocalAddr() net.Addr              { return nil }
func (nilConn) RemoteAddr() net.Addr             { return nil }
func (nilConn) SetDeadline(time.Time) error      { return errNilConn }
func (nilConn) SetReadDeadline(time.Time) error  { return errNilConn }
func (nilConn) SetWriteDeadline(time.Time) error { return errNilConn }
