package keepalive

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Watch returns a connection that calls lost when a Read or Write of conn says
// that the peer is lost, as [IsPeerLost] has it, and that keeps returning this
// error. It is for clients that swallow the error or turn it into io.EOF, so
// that a stream that was cut off looks complete.
//
// lost is called once, before the Read or Write that was told returns. Others
// do not wait for it. It may close the connection, and may wait for other calls
// to return. It may be nil. From then on every Read and Write that fails
// returns the error, except after Close. Data that had arrived can still be
// read.
//
// The kernel gives the error to one caller only. On Linux, where conn is a
// [*net.TCPConn] itself and does not use MPTCP, a Read and a Write that are
// under way at the same time both return it: where one ends otherwise, it waits
// for the other. Elsewhere, and where one of them competes with ReadFrom or
// WriteTo, one of the two may still return io.EOF or EPIPE. Later calls return
// the error.
//
// ReadFrom and WriteTo move data as those of conn do, by splice and sendfile
// where [*net.TCPConn] does. An error of theirs may be that of the other end of
// the copy. It counts as a loss of conn's peer only where conn's own socket is
// closed, which is known on Linux alone.
//
// NetConn returns conn. SyscallConn and CloseWrite are there where conn has
// them, so [Get], [Stat] and [Config.Apply] find the socket. A [net.Buffers] is
// written with a system call for each buffer. Code that asks for a concrete
// type no longer finds it: net/http speaks HTTP/2 only on a [*crypto/tls.Conn],
// and SetNoDelay is a method of [*net.TCPConn]. So put TLS around the watched
// connection, and set such options before.
func Watch(conn net.Conn, lost func(error)) net.Conn {
	if conn == nil {
		return nil
	}
	w := watch(conn, lost)
	socket, isSocket := conn.(syscall.Conn)
	half, isHalf := conn.(closeWriter)
	switch {
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
// have SyscallConn: who finds it there would read the bytes of TLS.
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
)

type watchedConn struct {
	net.Conn
	lost  func(error)
	waits bool // for other calls, since nothing but the kernel blocks them

	mu       sync.Mutex
	changed  sync.Cond
	inFlight int   // Reads and Writes
	err      error // the peer is lost
}

func watch(conn net.Conn, lost func(error)) *watchedConn {
	if lost == nil {
		lost = func(error) {}
	}
	w := &watchedConn{Conn: conn, lost: lost}
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
	isLoss := IsPeerLost(err)
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
	isLoss := IsPeerLost(err) && isClosed(w.Conn)
	w.mu.Lock()
	defer w.mu.Unlock()
	if isLoss {
		w.noteLoss(err)
	}
	return w.replace(err)
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
