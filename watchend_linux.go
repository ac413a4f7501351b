//go:build !keepalive_portable

package keepalive

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

func (w *watchedConn) hearEnd(hasError bool) { w.socket.hearEnd(hasError) }

// hearEnd takes the error that has ended the socket, but leaves it to a call that
// the kernel is about to return it to.
func (s *watchedSocketEntry) hearEnd(hasError bool) {
	s.end(func(conns []*watchedConn) error {
		if !hasError || leaveToCalls(conns) {
			return nil
		}
		return takeEnd(conns)
	})
}

// end finds the error that all connections around the socket return from then on.
// Their calls wait for it.
func (s *watchedSocketEntry) end(find func(conns []*watchedConn) error) {
	conns := endPoll.watched(s)
	for _, w := range conns {
		w.mu.Lock()
	}
	err := knownEnd(conns)
	if err == nil {
		err = find(conns)
	}
	tell := noteEnds(conns, err)
	for _, w := range conns {
		w.mu.Unlock()
	}
	for _, tell := range tell {
		go tell()
	}
}

// isReset reports whether err means that the peer has reset the connection. All
// calls return a reset from then on, as they return a loss.
func (w *watchedConn) isReset(err error) bool {
	return w.socket != nil && errors.Is(err, syscall.ECONNRESET) && isClosed(w.Conn)
}

func knownEnd(conns []*watchedConn) error {
	for _, w := range conns {
		if w.err != nil {
			return w.err
		}
	}
	return nil
}

func leaveToCalls(conns []*watchedConn) bool {
	for _, w := range conns {
		if w.waits && w.inFlight > 0 {
			w.missed = true
			return true
		}
	}
	return false
}

// takeEnd returns the error as a Read would, or nil.
func takeEnd(conns []*watchedConn) error {
	for _, w := range conns {
		var errno syscall.Errno
		err := sockopt.RawControl(w.rc, func(fd uintptr) error {
			errno = policy.TakeEnd(fd)
			return nil
		})
		if err == nil && errno != 0 {
			return w.readError(os.NewSyscallError("read", errno))
		}
	}
	return nil
}

// readError returns err as a Read would.
func (w *watchedConn) readError(err error) error {
	return &net.OpError{Op: "read", Net: "tcp", Source: w.LocalAddr(), Addr: w.RemoteAddr(), Err: err}
}

func noteEnds(conns []*watchedConn, err error) (tell []func()) {
	if err == nil {
		return nil
	}
	for _, w := range conns {
		if f := w.noteEnd(err); f != nil {
			tell = append(tell, f)
		}
	}
	return tell
}

// noteEnd makes all calls return err, which none has returned yet. tell calls lost,
// and is nil if err is no loss or not the first error. The caller holds mu, and
// releases it before it calls tell.
func (w *watchedConn) noteEnd(err error) (tell func()) {
	if w.err != nil {
		return nil
	}
	w.err = err
	w.changed.Broadcast()
	if !w.isLoss(err) {
		return nil
	}
	told := make(chan struct{})
	w.told = told
	return func() {
		defer close(told)
		w.lost(err)
	}
}

// spread passes err on to the other connections around the socket of w. The kernel
// has returned it to w alone.
func (w *watchedConn) spread(err error) {
	if w.socket == nil {
		return
	}
	for _, other := range endPoll.watched(w.socket) {
		other.mu.Lock()
		tell := other.noteEnd(err)
		other.mu.Unlock()
		if tell != nil {
			go tell()
		}
	}
}
