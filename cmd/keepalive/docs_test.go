package main

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/keepalive.md")

const docs = "../../docs/keepalive.md"

// docs/keepalive.md says what --help says. go test -run TestDocs -update writes
// it anew.
func TestDocs(t *testing.T) {
	t.Parallel()
	want := markdown(t)
	if *update {
		require.NoError(t, os.WriteFile(docs, []byte(want), 0o644))
	}
	got, err := os.ReadFile(docs)
	require.NoError(t, err)
	assert.Equal(t, want, string(got), "go test -run TestDocs -update writes it anew")
}

func markdown(t *testing.T) string {
	root := newRoot()
	var b strings.Builder
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		c.DisableAutoGenTag = true
		if c != root && !c.IsAvailableCommand() {
			continue
		}
		var page bytes.Buffer
		require.NoError(t, doc.GenMarkdownCustom(c, &page, func(string) string { return "" }))
		text, _, _ := strings.Cut(page.String(), "### SEE ALSO")
		if c == root {
			text = "#" + strings.TrimPrefix(text, "##")
		}
		b.WriteString(text)
	}
	// Examples have a line for each command, and cobra indents them.
	return regexp.MustCompile(`\n{3,}`).ReplaceAllString(b.String(), "\n\n")
}
