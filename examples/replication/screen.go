package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// Screen prints what a program goes through: lines, and on a terminal one that
// changes in place. One goroutine uses it.
type Screen struct {
	w        io.Writer
	terminal bool
	live     bool // the cursor stands at the end of the changing line
	err      error
}

// NewScreen returns a Screen that prints to w, plain lines only unless w is a
// terminal.
func NewScreen(w io.Writer) *Screen {
	return &Screen{w: w, terminal: isTerminal(w)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Err returns the first error of printing: a proof that nobody can read is none.
func (s *Screen) Err() error { return s.err }

func (s *Screen) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.w, format, args...); s.err == nil {
		s.err = err
	}
}

// Line prints a line.
func (s *Screen) Line(format string, args ...any) {
	s.End()
	s.printf(format+"\n", args...)
}

// Say prints what happens to whom.
func (s *Screen) Say(who, format string, args ...any) {
	s.Line("%-9s %s", who, fmt.Sprintf(format, args...))
}

// Refresh is Say for what changes all the time.
func (s *Screen) Refresh(who, format string, args ...any) {
	if !s.terminal {
		s.Say(who, format, args...)
		return
	}
	// The padding covers what a longer line has left.
	s.printf("\r%-9s %-69s", who, fmt.Sprintf(format, args...))
	s.live = true
}

// Period is how often Refresh is worth calling, where plain lines are worth it
// every so often.
func (s *Screen) Period(plain time.Duration) time.Duration {
	if s.terminal {
		return 100 * time.Millisecond
	}
	return plain
}

// End leaves the changing line as it stands.
func (s *Screen) End() {
	if s.live {
		s.printf("\n")
		s.live = false
	}
}
