//go:build !keepalive_portable

package keepalive

import (
	"io"
	"net"
	"time"
)

// read reads from the connection. Go's poller may look at a socket after the kernel
// has noted its error and before the kernel has closed it. A Read of net then fails
// until the poller looks again. So read repeats it, for about a second at most.
func (w *watchedConn) read(b []byte) (int, error) {
	for pause := time.Microsecond; ; pause *= 2 {
		n, err := w.Conn.Read(b)
		if pause > time.Second || !w.isNotPollable(err) {
			return n, err
		}
		time.Sleep(pause)
	}
}

// copyTo copies to a Writer what it reads from the connection. After an error that
// read would not return it goes on with read.
func (w *watchedConn) copyTo(to io.Writer) (int64, error) {
	n, err := io.Copy(to, w.Conn)
	if !w.isNotPollable(err) {
		return n, err
	}
	more, err := io.Copy(to, readerFunc(w.read))
	return n + more, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// isNotPollable reports whether err is internal/poll.ErrNotPollable of this
// connection, which net returns after EPOLLERR alone. The other end of a copy may
// return it too. A TLS connection keeps it, so there is nothing to repeat.
func (w *watchedConn) isNotPollable(err error) bool {
	op, ok := err.(*net.OpError)
	if !ok {
		return false
	}
	if _, ok := w.Conn.(*net.TCPConn); !ok {
		return false
	}
	for inner, ok := op.Err.(*net.OpError); ok; inner, ok = op.Err.(*net.OpError) {
		op = inner
	}
	// ReadFrom of the other end returns it for its source: no wait to write does.
	return op.Err.Error() == "not pollable" && (op.Op == "readfrom" || op.Source == w.LocalAddr())
}
