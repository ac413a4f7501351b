package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/manual"
)

// There is a manual page for each command, with the words of its help.
func TestManual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := runCommand(t, "manual", dir)
	require.Equal(t, exitDone, r.code, r.stderr)
	root := newRoot()
	addOwn(root)
	pages := manual.Pages(root, manual.Header{})
	files, err := filepath.Glob(dir + "/*")
	require.NoError(t, err)
	assert.Len(t, files, len(pages))
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "keepalive-"+c.Name()+".1"))
		require.NoError(t, err)
		printed := strings.NewReplacer(`\e`, `\`, `\-`, `-`, `\(aq`, `'`, `\(dq`, `"`, `\(ga`, "`", `\(ha`, `^`, `\(ti`, `~`, `\&`, ``).Replace(string(text))
		for _, word := range strings.Fields(c.Short + " " + c.Long + " " + c.Example + " " + c.LocalFlags().FlagUsages()) {
			assert.True(t, strings.Contains(printed, word), "%q in the page of %s", word, c.Name())
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := runCommand(t, "--version")
	assert.Equal(t, exitDone, r.code)
	assert.Regexp(t, `^keepalive \S+, commit \S+, `+runtime.Version()+"\n$", r.stdout)
}
