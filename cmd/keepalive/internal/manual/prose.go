package manual

import (
	"fmt"
	"regexp"
	"strings"
)

// prose sets the text of a help: paragraphs, and indented blocks, which are
// definitions where all lines have two columns.
func (t *text) prose(s string) {
	for _, block := range regexp.MustCompile(`\n\n+`).Split(strings.Trim(s, "\n"), -1) {
		for _, part := range parts(strings.Split(block, "\n")) {
			t.part(part)
		}
	}
}

func (t *text) part(lines []string) {
	column := columnOf(lines)
	switch {
	case !isIndented(lines[0]):
		t.macro("PP")
		for _, line := range lines {
			t.line(escape(line))
		}
	case column > 0:
		t.macro("PP")
		t.macro("RS", "4")
		t.macro("PD", "0")
		t.definitions(lines, column, fmt.Sprint(column-indentation(lines)))
		t.macro("PD")
		t.macro("RE")
	default:
		t.verbatim(lines)
	}
}

func isIndented(line string) bool {
	return strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "\t")
}

// parts splits a block where indented lines begin or end.
func parts(lines []string) (parts [][]string) {
	begin := 0
	for i := 1; i <= len(lines); i++ {
		if i == len(lines) || isIndented(lines[i]) != isIndented(lines[begin]) {
			parts = append(parts, lines[begin:i])
			begin = i
		}
	}
	return parts
}

// columnOf returns where the second column begins of lines that have a term in
// the first one, or continue the second one. It returns 0 for other lines.
func columnOf(lines []string) int {
	match := regexp.MustCompile(`^ *\S+(?: \S+)*  +`).FindString(lines[0])
	column := len(match)
	for _, line := range lines {
		if len(line) <= column || line[column] == ' ' || column > 0 && line[column-1] != ' ' {
			return 0
		}
	}
	return column
}

// definitions sets lines with two columns, of which the first has a width, or that of
// TP.
func (t *text) definitions(lines []string, column int, width ...string) {
	for _, line := range lines {
		if term := strings.TrimSpace(line[:column]); term != "" {
			t.macro("TP", width...)
			t.macro("B", term)
		}
		t.line(escape(line[column:]))
	}
}

// verbatim sets lines as they are, without the indentation that they share.
func (t *text) verbatim(lines []string) {
	t.macro("PP")
	t.macro("RS", "4")
	t.macro("nf")
	for _, line := range lines {
		t.line(escape(line[indentation(lines):]))
	}
	t.macro("fi")
	t.macro("RE")
}

// indentation returns how many blanks all lines begin with.
func indentation(lines []string) int {
	shared := len(lines[0])
	for _, line := range lines {
		shared = min(shared, len(line)-len(strings.TrimLeft(line, " \t")))
	}
	return shared
}

// asIs are characters that groff_char(7) would print as others, which could not be
// copied to a shell.
var asIs = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, `"`, `\(dq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`)

// escape has a line print as it is.
func escape(s string) string {
	var b strings.Builder
	if strings.HasPrefix(s, ".") {
		b.WriteString(`\&`) // or it would be a macro
	}
	for _, r := range asIs.Replace(s) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}
