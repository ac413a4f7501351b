// Package term knows what a command prints to: a terminal of some size, with or
// without colours, or a pipe.
package term

import (
	"cmp"
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// Output is where a command prints to.
type Output struct {
	io.Writer

	// Terminal is whether somebody looks at a terminal. Pipes get plain text,
	// and nothing is cut.
	Terminal bool

	// Color is whether the terminal shows colours: not where NO_COLOR is set
	// (https://no-color.org) or TERM is dumb.
	Color bool

	// Width and Height are those of the terminal, in characters, and 0 for
	// what has no limit.
	Width, Height int
}

// New returns the Output that writes to w, which may be a [Stream].
func New(w io.Writer) Output {
	o := Output{Writer: w}
	if s, ok := w.(*Stream); ok {
		w = s.w
	}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return o
	}
	o.Terminal = true
	o.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if width, height, err := term.GetSize(int(f.Fd())); err == nil {
		o.Width, o.Height = width, height
	}
	o.Width, o.Height = cmp.Or(o.Width, 80), cmp.Or(o.Height, 24)
	return o
}

// A Style is how a piece of text looks on a terminal with colours.
type Style text.Colors

// The styles say how much something matters.
var (
	Plain   Style
	Alarm   = Style{text.FgRed, text.Bold}
	Warning = Style{text.FgYellow}
	Good    = Style{text.FgGreen}
	Faint   = Style{text.Faint}
	Heading = Style{text.Bold}
)

// Paint returns s in a style.
func (o Output) Paint(style Style, s string) string {
	if !o.Color || len(style) == 0 || s == "" {
		return s
	}
	return text.Escape(s, text.Colors(style).EscapeSeq())
}
