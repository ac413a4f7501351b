// Picture turns what a terminal shows into an SVG. It reads lines with escape
// sequences for colours, as tmux capture-pane -e prints them, from stdin.
package main

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

func main() {
	if err := draw(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// Sizes are in pixels.
const (
	cellWidth  = 8.4
	lineHeight = 18
	fontSize   = 14
	margin     = 16
)

// colors are those that SGR 31 to 37 select.
var colors = map[int]string{31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#56d4dd", 37: "#b1bac4"}

const (
	background = "#0d1117"
	foreground = "#e6edf3"
)

// style is what escape sequences have selected.
type style struct {
	color       int
	bold, faint bool
}

func (s style) attributes() string {
	var b strings.Builder
	if color, ok := colors[s.color]; ok {
		fmt.Fprintf(&b, ` fill="%s"`, color)
	}
	if s.bold {
		b.WriteString(` font-weight="bold"`)
	}
	if s.faint {
		b.WriteString(` opacity="0.6"`)
	}
	return b.String()
}

func draw(r io.Reader, w io.Writer) error {
	var lines []string
	columns := 0
	var current style
	for scanner := bufio.NewScanner(r); scanner.Scan(); {
		line, width := drawLine(scanner.Text(), len(lines), &current)
		lines = append(lines, line)
		columns = max(columns, width)
	}
	width := 2*margin + cellWidth*float64(columns)
	height := 2*margin + lineHeight*len(lines)
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d">
<rect width="100%%" height="100%%" rx="8" fill="%s"/>
<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="%d" fill="%s" xml:space="preserve">
%s</g>
</svg>
`, width, height, width, height, background, fontSize, foreground, strings.Join(lines, ""))
	return err
}

// drawLine returns the elements of a line, and its width in characters.
func drawLine(line string, row int, current *style) (elements string, width int) {
	var b strings.Builder
	for line != "" {
		text, rest, found := strings.Cut(line, "\x1b[")
		if strings.TrimSpace(text) != "" {
			// textLength keeps columns in line whatever the font is.
			n := utf8.RuneCountInString(text)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" textLength="%.1f"%s>%s</text>`+"\n",
				margin+cellWidth*float64(width), margin+lineHeight*row+fontSize, cellWidth*float64(n), current.attributes(), escape(text))
		}
		width += utf8.RuneCountInString(text)
		if !found {
			break
		}
		codes, rest, _ := strings.Cut(rest, "m")
		current.apply(codes)
		line = rest
	}
	return b.String(), width
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

// apply applies the numbers of an escape sequence: ECMA-48, SGR.
func (s *style) apply(codes string) {
	for code := range strings.SplitSeq(codes, ";") {
		switch n, _ := strconv.Atoi(code); {
		case n == 0:
			*s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.faint = true
		case n == 22:
			s.bold, s.faint = false, false
		case n >= 30 && n <= 39:
			s.color = n
		}
	}
}
