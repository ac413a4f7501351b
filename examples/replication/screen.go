package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// screen prints the story. On a terminal one line, that of refresh, changes in
// place.
type screen struct {
	w        io.Writer
	terminal bool
	live     bool  // the cursor stands at the end of the changing line
	err      error // the first of w: a proof that nobody can read is none
}

func newScreen(w io.Writer) *screen {
	return &screen{w: w, terminal: isTerminal(w)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (s *screen) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.w, format, args...); s.err == nil {
		s.err = err
	}
}

func (s *screen) line(format string, args ...any) {
	s.end()
	s.printf(format+"\n", args...)
}

// say prints what happens to whom.
func (s *screen) say(who, format string, args ...any) {
	s.line("%-9s %s", who, fmt.Sprintf(format, args...))
}

// refresh is say for what changes all the time.
func (s *screen) refresh(who, what string) {
	if !s.terminal {
		s.say(who, "%s", what)
		return
	}
	// The padding covers what a longer line has left.
	s.printf("\r%-9s %-69s", who, what)
	s.live = true
}

// period is how often refresh is worth calling.
func (s *screen) period() time.Duration {
	if s.terminal {
		return 100 * time.Millisecond
	}
	return time.Second
}

// end leaves the changing line as it stands.
func (s *screen) end() {
	if s.live {
		s.printf("\n")
		s.live = false
	}
}
