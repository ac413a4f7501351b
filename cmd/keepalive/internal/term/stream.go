package term

import (
	"io"
	"sync"
)

// A Stream is a writer that remembers its first error. What is written after
// that is dropped, with the same error, so that a command need not check each
// write: it goes on with what it does and fails in the end.
//
// Its methods may be called by several goroutines.
type Stream struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

// NewStream returns a Stream that writes to w.
func NewStream(w io.Writer) *Stream { return &Stream{w: w} }

// Write writes p, unless an earlier write failed.
func (s *Stream) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		n, s.err = s.w.Write(p)
	}
	return n, s.err
}

// Err returns the error of the first write that failed, or nil.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
