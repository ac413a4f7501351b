package manual

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPages(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "tool COMMAND", Short: "Do things", Long: "Tool does things.", DisableFlagsInUseLine: true}
	root.AddGroup(&cobra.Group{ID: "See", Title: "See:"})
	look := &cobra.Command{
		Use:   "look [FLAG...] FILE",
		Short: "Look at it",
		Long: `Look looks. A path is
'C:\x', or "-" for none.

.hidden files are shown. The fields are

    name   what the file
           is called
    a, b   two → three

and of a folder

    look | sort |
      uniq

This ends it.`,
		Example: "  tool look .\n  tool look --deep ~/x",
		GroupID: "See",
		Run:     func(*cobra.Command, []string) {},
	}
	look.Flags().Int("depth", 3, "look at `N` folders")
	look.DisableFlagsInUseLine = true
	root.AddCommand(look, &cobra.Command{Use: "secret", Hidden: true, Run: look.Run})
	root.AddCommand(&cobra.Command{Use: "other", Short: "Do something else", Run: look.Run})
	pages := Pages(root, Header{Version: "v1.2.3", Date: "2026-11-29"})
	require.Len(t, pages, 3)
	assert.Equal(t, Page{"tool.1", `.TH "TOOL" 1 "2026-11-29" "tool v1.2.3" "User Commands"
.SH "NAME"
tool \- Do things
.SH "SYNOPSIS"
tool COMMAND
.SH "DESCRIPTION"
.PP
Tool does things.
.SH "COMMANDS"
.SS "See"
.TP
.B "look"
Look at it.
.SS "Other"
.TP
.B "other"
Do something else.
.SH "OPTIONS"
.TP
.B "\-h, \-\-help"
help for tool
.SH "SEE ALSO"
.BR "tool\-look" "(1),"
.BR "tool\-other" "(1),"
.BR "tcp" "(7)"
`}, pages[0])
	assert.Equal(t, Page{"tool-look.1", `.TH "TOOL-LOOK" 1 "2026-11-29" "tool v1.2.3" "User Commands"
.SH "NAME"
tool\-look \- Look at it
.SH "SYNOPSIS"
tool look [FLAG...] FILE
.SH "DESCRIPTION"
.PP
Look looks. A path is
\(aqC:\ex\(aq, or \(dq\-\(dq for none.
.PP
\&.hidden files are shown. The fields are
.PP
.RS "4"
.PD "0"
.TP "7"
.B "name"
what the file
is called
.TP "7"
.B "a, b"
two \[u2192] three
.PD
.RE
.PP
and of a folder
.PP
.RS "4"
.nf
look | sort |
  uniq
.fi
.RE
.PP
This ends it.
.SH "OPTIONS"
.TP
.B "\-\-depth N"
look at N folders (default 3)
.TP
.B "\-h, \-\-help"
help for look
.SH "EXAMPLES"
.PP
.RS "4"
.nf
tool look .
tool look \-\-deep \(ti/x
.fi
.RE
.SH "SEE ALSO"
.BR "tool" "(1),"
.BR "tcp" "(7)"
`}, pages[1])
	assert.Equal(t, "tool-other.1", pages[2].Name)
}

func TestColumnOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want  int
		lines []string
	}{
		{11, []string{"    --pid  the group", "           of a process", "    -a     all"}},
		{0, []string{"    one", "    two"}},
		{0, []string{"    one  two", "    three four"}},
		{0, []string{"    one  two", ""}},
		{0, []string{"    one  two", "           three"}},
		{0, []string{"\tone"}},
	} {
		assert.Equal(t, test.want, columnOf(test.lines), test.lines)
	}
}
