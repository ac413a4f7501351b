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
	waits bool // for other calls, since nothing but the kernel blocks them

	connecting atomic.Bool // when it was watched, as TCP Fast Open leaves it

	registration               // with the kernel
	unacked      *unackedLimit // nil for none

	mu       sync.Mutex
	changed  sync.Cond
	inFlight int  // Reads and Writes
	missed   bool // the kernel has said that err may be known, when calls were in flight
	err      error
	told     chan struct{} // closed once lost has returned, for one call that waits for it
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
	if !w.waits {
		w.unacked.start() // Read of TLS begins the handshake
	}
	n, err := w.Conn.Read(b)
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

// WriteTo ends without an error at io.EOF, which is none after a loss.
func (w *watchedConn) WriteTo(to io.Writer) (int64, error) {
	early := w.beginCopy()
	if !w.waits {
		w.unacked.start()
	}
	n, err := io.Copy(to, w.Conn)
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
		// The kernel has closed the socket, so what is in flight
		// returns at once, maybe with the error.
		for w.inFlight > 0 && w.err == nil {
			w.changed.Wait()
		}
	}
	return w.replace(early, err)
}

// leave ends a call that has not found the error, which the kernel may have kept
// for it. mu is held.
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
	isLoss := w.isLoss(err) && gaveUp(w.Conn) // or it is that of the other end
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

// replace returns the error that ended the connection, if it is known, in place of
// what came after it. One call that was under way waits for lost, which may wait
// for the others.
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

// noteReturned makes err, which a call is about to return, what all calls return.
// It calls lost without holding mu, and once those that wait can go on.
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
