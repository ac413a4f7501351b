package term

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table is text in columns, without lines.
type Table []Column

// Column is a column of a Table. Its cells may hold escape sequences.
type Column struct {
	Heading string
	Right   bool // aligned to the right
	Cells   []string

	// Cut shortens a cell where the table is wider than the terminal. Nil
	// keeps the column whole.
	Cut func(s string, width int) string
}

const (
	gap   = 2  // between columns
	least = 12 // what is left of a column that is cut
)

// Append appends a row.
func (t Table) Append(cells ...string) {
	for i, cell := range cells {
		t[i].Cells = append(t[i].Cells, cell)
	}
}

// Width returns the width of the whole table, in characters.
func (t Table) Width() int {
	width := -gap
	for i := range t {
		width += t[i].width() + gap
	}
	return width
}

// LeastWidth returns the width that the table has where all columns that can be
// cut are.
func (t Table) LeastWidth() int {
	width := -gap
	for i := range t {
		if w := t[i].width(); t[i].Cut == nil {
			width += w + gap
		} else {
			width += min(w, least) + gap
		}
	}
	return width
}

func (c *Column) width() int {
	width := textWidth(c.Heading)
	for _, cell := range c.Cells {
		width = max(width, textWidth(cell))
	}
	return width
}

func (c *Column) fit(cell string, width int) string {
	if c.Cut == nil || textWidth(cell) <= width {
		return cell
	}
	return c.Cut(cell, width)
}

// Print prints the table.
func (t Table) Print(out Output) error {
	for _, line := range t.Lines(out) {
		if _, err := fmt.Fprint(out, line); err != nil {
			return err
		}
	}
	return nil
}

// PrintWhole prints the table so that nothing is cut. On a terminal that is too
// narrow for it, each cell gets a line of its own with the heading of its column.
// A cell without a heading follows the one before it. The terminal wraps what is
// still too long, and copies it as one line.
func (t Table) PrintWhole(out Output) error {
	if out.Width == 0 || t.Width() <= out.Width {
		return t.Print(out)
	}
	var b strings.Builder
	for i := range t[0].Cells {
		for j, c := range t {
			switch {
			case j == 0:
				b.WriteString(c.Cells[i])
			case c.Cells[i] == "":
			case c.Heading == "":
				b.WriteString(" " + c.Cells[i])
			default:
				b.WriteString("\n  " + out.Paint(Heading, c.Heading) + " " + c.Cells[i])
			}
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// Lines returns the lines of the table, cut to the width of a terminal.
func (t Table) Lines(out Output) []string {
	w := table.NewWriter()
	w.SetStyle(table.Style{Box: table.BoxStyle{PaddingRight: strings.Repeat(" ", gap)}, Options: table.OptionsNoBordersAndSeparators})
	w.SetColumnConfigs(t.configs(out))
	heading := make(table.Row, len(t))
	for i := range t {
		heading[i] = out.Paint(Heading, t[i].Heading)
	}
	w.AppendHeader(heading)
	for i := range t[0].Cells {
		row := make(table.Row, len(t))
		for j := range t {
			row[j] = t[j].Cells[i]
		}
		w.AppendRow(row)
	}
	var lines []string
	for line := range strings.Lines(w.Render()) {
		lines = append(lines, Cut(strings.TrimRight(line, " \n"), out.Width)+"\n")
	}
	return lines
}

// configs takes what is too wide from the columns that can be cut, the widest
// first.
func (t Table) configs(out Output) []table.ColumnConfig {
	widths := make([]int, len(t))
	excess := -out.Width - gap
	for i := range t {
		widths[i] = t[i].width()
		excess += widths[i] + gap
	}
	for ; out.Width > 0 && excess > 0; excess-- {
		widest := -1
		for i := range t {
			if t[i].Cut != nil && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	configs := make([]table.ColumnConfig, len(t))
	for i := range t {
		configs[i] = table.ColumnConfig{Number: i + 1, WidthMax: max(1, widths[i]), WidthMaxEnforcer: t[i].fit}
		if t[i].Right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	return configs
}

func textWidth(s string) int { return text.StringWidthWithoutEscSequences(s) }

// Cut returns s without what does not fit into width characters, of which the
// last then is "…". A width of 0 is no limit.
func Cut(s string, width int) string {
	if width <= 0 || textWidth(s) <= width {
		return s
	}
	return text.Snip(s, width, "…")
}

// Wrap returns s in lines of at most width characters, broken between words where
// that is possible. A width of 0 is no limit.
func Wrap(s string, width int) (lines []string) {
	if width > 0 {
		s = text.WrapSoft(s, width)
	}
	for line := range strings.SplitSeq(s, "\n") {
		lines = append(lines, strings.TrimRight(line, " ")+"\n")
	}
	return lines
}

// CutLeft is Cut for text that matters most at its end.
func CutLeft(s string, width int) string {
	if width <= 0 || textWidth(s) <= width {
		return s
	}
	var b strings.Builder
	left, escape := textWidth(s), false
	for _, r := range s {
		switch {
		case r == text.EscapeStartRune || escape: // stays, as it colours what is left
			b.WriteRune(r)
			escape = r != text.EscapeStopRune
		case left >= width:
			if left -= text.RuneWidth(r); left < width {
				b.WriteString("…")
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
