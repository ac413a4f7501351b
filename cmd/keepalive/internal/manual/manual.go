// Package manual makes manual pages of commands, in the macros of man(7), from
// the text that their help prints.
package manual

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Header is what the head and the foot of each page say.
type Header struct {
	Version string // of the program
	Date    string // as in 2006-01-02
}

// Page is the text of a manual page, and the name of its file.
type Page struct{ Name, Text string }

// section is that of user commands.
const section = "1"

// Pages returns a page for root and for each command below it, hidden ones
// excepted.
func Pages(root *cobra.Command, h Header) []Page {
	pages := []Page{page(root, h)}
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			pages = append(pages, Pages(c, h)...)
		}
	}
	return pages
}

// title is the name of a command's page: that of "keepalive ls" is keepalive-ls.
func title(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func page(c *cobra.Command, h Header) Page {
	c.InitDefaultHelpFlag()
	var t text
	t.line(fmt.Sprintf(".TH %q %s %q %q %q", strings.ToUpper(title(c)), section, h.Date, c.Root().Name()+" "+h.Version, "User Commands"))
	t.macro("SH", "NAME")
	t.line(escape(title(c)) + ` \- ` + escape(c.Short))
	t.macro("SH", "SYNOPSIS")
	t.line(escape(c.UseLine()))
	t.macro("SH", "DESCRIPTION")
	t.prose(description(c))
	t.commands(c)
	t.macro("SH", "OPTIONS")
	flags := strings.Split(strings.TrimRight(c.LocalFlags().FlagUsages(), "\n"), "\n")
	t.definitions(flags, columnOf(flags))
	if c.HasExample() {
		t.macro("SH", "EXAMPLES")
		t.verbatim(strings.Split(c.Example, "\n"))
	}
	t.seeAlso(c)
	return Page{title(c) + "." + section, t.String()}
}

func description(c *cobra.Command) string {
	if c.Long == "" {
		return c.Short + "."
	}
	return c.Long
}

// commands lists those below c as its help does: by group, and then those without
// one.
func (t *text) commands(c *cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return
	}
	t.macro("SH", "COMMANDS")
	for _, g := range append(c.Groups(), &cobra.Group{Title: "Other:"}) {
		heading := len(c.Groups()) > 0
		for _, sub := range c.Commands() {
			if sub.GroupID != g.ID || !sub.IsAvailableCommand() {
				continue
			}
			if heading {
				t.macro("SS", strings.TrimSuffix(g.Title, ":"))
				heading = false
			}
			t.macro("TP")
			t.macro("B", sub.Name())
			t.line(escape(sub.Short) + ".")
		}
	}
}

// seeAlso names the pages above and below, and what keepalive is.
func (t *text) seeAlso(c *cobra.Command) {
	t.macro("SH", "SEE ALSO")
	var pages []string
	if c.HasParent() {
		pages = append(pages, title(c.Parent()))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			pages = append(pages, title(sub))
		}
	}
	for _, name := range pages {
		t.macro("BR", name, "("+section+"),")
	}
	t.macro("BR", "tcp", "(7)")
}

// A text is a page so far.
type text struct{ strings.Builder }

func (t *text) line(s string) { fmt.Fprintln(t, s) }

// macro calls a macro with arguments, which are quoted.
func (t *text) macro(name string, args ...string) {
	t.WriteString("." + name)
	for _, arg := range args {
		t.WriteString(` "` + escape(arg) + `"`)
	}
	t.WriteString("\n")
}
