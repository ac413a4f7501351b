package keepalive

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Watch returns a connection that calls lost when a Read or Write of conn fails
// because the peer is lost, as [IsPeerLost] reports, and that returns this
// error from then on. It is for clients that drop the error or turn it into
// io.EOF.
//
// lost is called once, before that Read or Write returns. It may be nil, close
// the connection, or wait for other calls. Data that had arrived can still be
// read. After Close, calls return [net.ErrClosed].
//
// Of a [*net.TCPConn] on Linux, concurrent Reads and Writes all return the
// error. Elsewhere one of them may return io.EOF or EPIPE instead.
//
// ReadFrom and WriteTo use splice and sendfile where conn does. Their error is
// a loss if the kernel has given up conn's own peer, known on Linux alone.
//
// The result has NetConn, which returns conn, and SyscallConn, CloseWrite and
// ConnectionState if conn has them, but another type: put TLS around it, not
// inside.
func Watch(conn net.Conn, lost func(error)) net.Conn {
	if conn == nil {
		return nil
	}
	if tcp, ok := conn.(*net.TCPConn); ok && tcp == nil {
		return nilConn{}
	}
	w := watch(conn, lost)
	socket, isSocket := conn.(syscall.Conn)
	half, isHalf := conn.(closeWriter)
	session, isTLS := conn.(tlsConn)
	switch {
	case isTLS && isHalf && !isSocket:
		return &watchedTLS{w, half, session}
	case isSocket && isHalf:
		return &watchedStream{w, socket, half}
	case isSocket:
		return &watchedSocket{w, socket}
	case isHalf:
		return &watchedHalf{w, half}
	}
	return w
}

// closeWriter is implemented by what can close one direction. Code that finds
// no CloseWrite calls Close instead.
type closeWriter interface{ CloseWrite() error }

// A watched connection has the methods that conn has. A TLS connection must not
// have SyscallConn: a caller that finds it would read the bytes of TLS.
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
	watchedTLS struct {
		*watchedConn
		closeWriter
		tlsConn
	}
)

// tlsConn is implemented by [*tls.Conn]. net/http asks for it by interface from Go
// 1.27 on.
type tlsConn interface{ ConnectionState() tls.ConnectionState }

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

type watchedConn struct {
	net.Conn
	lost  func(error)
	waits bool // for other calls, since nothing but the kernel blocks them

	connecting bool // when it was watched, as TCP Fast Open leaves it

	mu       sync.Mutex
	changed  sync.Cond
	inFlight int   // Reads and Writes
	err      error // the peer is lost
}

func watch(conn net.Conn, lost func(error)) *watchedConn {
	if lost == nil {
		lost = func(error) {}
	}
	w := &watchedConn{Conn: conn, lost: lost, connecting: !wasEstablished(conn)}
	w.changed.L = &w.mu
	// A type that embeds one may block for reasons of its own.
	if socket, ok := conn.(*net.TCPConn); ok {
		w.waits = !isMPTCPSocket(socket)
	}
	return w
}

func (w *watchedConn) Read(b []byte) (int, error) {
	w.begin()
	n, err := w.Conn.Read(b)
	return n, w.end(err)
}

func (w *watchedConn) Write(b []byte) (int, error) {
	w.begin()
	n, err := w.Conn.Write(b)
	return n, w.end(err)
}

func (w *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.Conn, r)
	if err != nil {
		err = w.endCopy(err)
	}
	return n, err
}

// WriteTo ends without an error at io.EOF, which is none after a loss.
func (w *watchedConn) WriteTo(to io.Writer) (int64, error) {
	n, err := io.Copy(to, w.Conn)
	return n, w.endCopy(err)
}

func (w *watchedConn) NetConn() net.Conn { return w.Conn }

func (w *watchedConn) begin() {
	w.mu.Lock()
	w.inFlight++
	w.mu.Unlock()
}

// end returns what a Read or Write returns that ended with err.
func (w *watchedConn) end(err error) error {
	isLoss := w.isLoss(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	w.changed.Broadcast()
	if isLoss {
		w.noteLoss(err)
	}
	if err == nil {
		return nil
	}
	if w.waits && w.err == nil && isClosed(w.Conn) {
		// The kernel has closed the socket, so what is in flight
		// returns at once, maybe with the error.
		for w.inFlight > 0 && w.err == nil {
			w.changed.Wait()
		}
	}
	return w.replace(err)
}

// endCopy returns what ReadFrom or WriteTo returns that ended with err.
func (w *watchedConn) endCopy(err error) error {
	isLoss := w.isLoss(err) && gaveUp(w.Conn) // or it is that of the other end
	w.mu.Lock()
	defer w.mu.Unlock()
	if isLoss {
		w.noteLoss(err)
	}
	return w.replace(err)
}

// isLoss reports whether err means that the peer is lost, which a failed connect
// does not.
func (w *watchedConn) isLoss(err error) bool {
	return IsPeerLost(err) && !(w.connecting && !wasEstablished(w.Conn))
}

// replace returns the error that said that the peer is lost, if there was one,
// in place of what came after it.
func (w *watchedConn) replace(err error) error {
	if w.err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	return w.err
}

// noteLoss calls lost without holding mu, and once those that wait can go on.
func (w *watchedConn) noteLoss(err error) {
	if w.err != nil {
		return
	}
	w.err = err
	w.changed.Broadcast()
	w.mu.Unlock()
	defer w.mu.Lock() // where lost panics too
	w.lost(err)
}

// isClosed reports whether the kernel is known to hold conn open no longer.
func isClosed(conn net.Conn) bool {
	s, err := Stat(conn)
	return err == nil && !s.Open
}
