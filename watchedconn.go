package keepalive

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

type watchedConn struct {
	net.Conn
	lost  func(error)
	waits bool // calls wait for each other: nothing but the kernel blocks them

	connecting atomic.Bool // it was not connected yet when it was watched: TCP Fast Open

	registration               // with the kernel
	unacked      *unackedLimit // nil for none

	mu       sync.Mutex
	changed  sync.Cond
	inFlight int  // Reads and Writes
	missed   bool // the socket ended while calls were in flight, which may return err
	err      error
	told     chan struct{} // closed when lost returns; nil unless a call has to wait for that
}

func watch(conn net.Conn, lost func(error)) *watchedConn {
	if lost == nil {
		lost = func(error) {}
	}
	w := &watchedConn{Conn: conn, lost: lost}
	w.connecting.Store(!wasEstablished(conn))
	w.changed.L = &w.mu
	// A type that embeds one may block for reasons of its own.
	if socket, ok := conn.(*net.TCPConn); ok {
		w.waits = !isMPTCPSocket(socket)
	}
	return w
}

func (w *watchedConn) Read(b []byte) (int, error) {
	early := w.begin()
	if !w.waits { // Read of TLS may send: the handshake, and new keys
		w.unacked.enterRead()
		defer w.unacked.leaveRead()
	}
	n, err := w.read(b)
	return n, w.end(early, err)
}

func (w *watchedConn) Write(b []byte) (int, error) {
	early := w.begin()
	w.unacked.enter()
	n, err := w.Conn.Write(b)
	w.unacked.leave()
	return n, w.end(early, err)
}

func (w *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	early := w.beginCopy()
	w.unacked.enter()
	n, err := io.Copy(w.Conn, r)
	w.unacked.leave()
	if err != nil {
		err = w.endCopy(early, err)
	}
	return n, err
}

// WriteTo returns nil at the end of the stream, but the error after a loss.
func (w *watchedConn) WriteTo(to io.Writer) (int64, error) {
	early := w.beginCopy()
	if !w.waits {
		w.unacked.enterRead()
		defer w.unacked.leaveRead()
	}
	n, err := w.copyTo(to)
	return n, w.endCopy(early, err)
}

func (w *watchedConn) Close() error {
	w.unregister()
	w.unacked.stop()
	return w.Conn.Close()
}

func (w *watchedConn) NetConn() net.Conn { return w.Conn }

// begin reports whether a Read or Write begins before the error is known.
func (w *watchedConn) begin() (early bool) {
	w.mu.Lock()
	w.inFlight++
	early = w.err == nil
	w.mu.Unlock()
	return early
}

func (w *watchedConn) beginCopy() (early bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil
}

// end returns what a Read or Write returns that ended with err.
func (w *watchedConn) end(early bool, err error) error {
	if err == nil {
		w.mu.Lock()
		w.leave()
		w.mu.Unlock()
		return nil
	}
	isLoss := w.isLoss(err)
	isEnd := isLoss || w.isReset(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if isEnd {
		w.inFlight--
		w.noteReturned(err, isLoss)
	} else {
		w.leave()
	}
	if w.waits && w.err == nil && isClosed(w.Conn) {
		// The kernel has closed the socket, so calls in flight return
		// at once, one of them maybe with the error.
		for w.inFlight > 0 && w.err == nil {
			w.changed.Wait()
		}
	}
	return w.replace(early, err)
}

// leave ends a call that has not found the error. The last one passes the event on
// that was left to the calls. The caller holds mu.
func (w *watchedConn) leave() {
	w.inFlight--
	w.changed.Broadcast()
	if w.missed && w.inFlight == 0 && w.err == nil {
		w.missed = false
		go w.hearEnd(true)
	}
}

// endCopy returns what ReadFrom or WriteTo returns that ended with err.
func (w *watchedConn) endCopy(early bool, err error) error {
	isLoss := w.isLoss(err) && gaveUp(w.Conn) // else the other end has returned err
	isEnd := isLoss || w.isReset(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	if isEnd {
		w.noteReturned(err, isLoss)
	}
	return w.replace(early, err)
}

// isLoss reports whether err means that the peer is lost, which a failed connect
// does not.
func (w *watchedConn) isLoss(err error) bool {
	return IsPeerLost(err) && !(w.connecting.Load() && !wasEstablished(w.Conn))
}

// replace returns the error that ended the connection, if it is known, and err
// otherwise. One call that was under way waits until lost has returned. The others
// do not, since lost may wait for them.
func (w *watchedConn) replace(early bool, err error) error {
	if w.err == nil || errors.Is(err, net.ErrClosed) {
		return err
	}
	if told := w.told; early && told != nil {
		w.told = nil
		w.mu.Unlock()
		<-told
		w.mu.Lock()
	}
	return w.err
}

// noteReturned makes all calls return err, as the caller does. It releases mu, which
// the caller holds, while it calls lost.
func (w *watchedConn) noteReturned(err error, isLoss bool) {
	if w.err != nil {
		return
	}
	w.err = err
	w.changed.Broadcast()
	w.mu.Unlock()
	defer w.mu.Lock() // where lost panics too
	w.spread(err)
	if isLoss {
		w.lost(err)
	}
}

// isClosed reports whether the kernel is known to hold conn open no longer.
func isClosed(conn net.Conn) bool {
	s, err := Stat(conn)
	return err == nil && !s.Open
}
