//go:build !linux || keepalive_portable

package keepalive

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// A registration is empty where only Read and Write tell of a loss.
type registration struct{}

func (registration) register() error {
	return fmt.Errorf("keepalive: losses that nobody reads on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (registration) unregister()        {}
func (registration) hearEnd(bool)       {}
func (registration) isReset(error) bool { return false }
func (registration) spread(error)       {}

// An unackedLimit is kept on Linux alone.
type unackedLimit struct{}

func limitUnacked(*watchedConn, time.Duration) *unackedLimit { return nil }

func (*unackedLimit) start()     {}
func (*unackedLimit) enter()     {}
func (*unackedLimit) leave()     {}
func (*unackedLimit) enterRead() {}
func (*unackedLimit) leaveRead() {}
func (*unackedLimit) stop()      {}

func (w *watchedConn) read(b []byte) (int, error) { return w.Conn.Read(b) }

func (w *watchedConn) copyTo(to io.Writer) (int64, error) { return io.Copy(to, w.Conn) }
