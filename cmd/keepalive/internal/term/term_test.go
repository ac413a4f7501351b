package term

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPlainTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	table := Table{{Heading: "NAME"}, {Heading: "AGE", Right: true}, {Heading: "WHERE", Cut: CutLeft}}
	table.Append("a", "1s", "somewhere far away")
	table.Append("a long name", "100s", "")
	assert.NoError(t, table.Print(New(&out)))
	assert.Equal(t, strings.TrimPrefix(`
NAME          AGE  WHERE
a              1s  somewhere far away
a long name  100s
`, "\n"), out.String())
	assert.Equal(t, 37, table.Width())
	assert.Equal(t, len("a long name  100s  ")+12, table.LeastWidth(), "the last column can be cut")
}

func TestTableOnTerminal(t *testing.T) {
	t.Parallel()
	terminal := Output{Terminal: true, Color: true, Width: 33}
	table := Table{{Heading: "NAME", Cut: Cut}, {Heading: "AGE", Right: true}, {Heading: "WHERE", Cut: CutLeft}}
	table.Append("a", terminal.Paint(Alarm, "1s"), "somewhere far away")
	table.Append("a long name", "100s", "")
	assert.Equal(t, []string{
		"\x1b[1mNAME\x1b[0m          \x1b[1mAGE\x1b[0m  \x1b[1mWHERE\x1b[0m\n",
		"a              \x1b[31;1m1s\x1b[0m  …here far away\n",
		"a long name  100s\n",
	}, table.Lines(terminal))

	terminal.Width, terminal.Color = 10, false
	for _, line := range table.Lines(terminal) {
		assert.LessOrEqual(t, textWidth(strings.TrimSuffix(line, "\n")), 10)
	}
}

func TestPrintWhole(t *testing.T) {
	t.Parallel()
	table := Table{{Heading: "NAME"}, {Heading: "AGE", Right: true}, {}, {Heading: "WHERE"}}
	table.Append("a", "1", "s", "somewhere far away")
	table.Append("b", "2", "", "here")
	for width, want := range map[int]string{
		0:  "NAME  AGE     WHERE\na       1  s  somewhere far away\nb       2     here\n",
		32: "NAME  AGE     WHERE\na       1  s  somewhere far away\nb       2     here\n",
		31: "a\n  AGE 1 s\n  WHERE somewhere far away\nb\n  AGE 2\n  WHERE here\n",
	} {
		var out bytes.Buffer
		assert.NoError(t, table.PrintWhole(Output{Writer: &out, Width: width}))
		assert.Equal(t, want, out.String(), "%d", width)
	}
}

func TestPaint(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "x", Output{}.Paint(Alarm, "x"), "a pipe")
	assert.Equal(t, "x", Output{Color: true}.Paint(Plain, "x"))
	assert.Equal(t, "\x1b[33mx\x1b[0m", Output{Color: true}.Paint(Warning, "x"))
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text       string
		width      int
		right, end string
	}{
		{"12345", 5, "12345", "12345"},
		{"12345", 4, "123…", "…345"},
		{"12345", 1, "…", "…"},
		{"", 1, "", ""},
		{"12345", 0, "12345", "12345"},
		{"\x1b[33m12345\x1b[0m", 3, "\x1b[33m12\x1b[0m…", "\x1b[33m…45\x1b[0m"},
		{"世界12", 4, "世…", "…12"},
		{"12世界", 4, "12…", "…界"},
	} {
		assert.Equal(t, test.right, Cut(test.text, test.width))
		assert.Equal(t, test.end, CutLeft(test.text, test.width))
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"one two three\n"}, Wrap("one two three", 0))
	assert.Equal(t, []string{"one two three\n"}, Wrap("one two three", 13))
	assert.Equal(t, []string{"one two\n", "three\n"}, Wrap("one two three", 12))
	assert.Equal(t, []string{"one\n", "two\n", "thre\n", "e\n"}, Wrap("one two three", 4))
}
