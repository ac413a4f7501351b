//go:build unix

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the README says of imports works word for word in an empty folder beside the
// checkout.
func TestImport(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "\n## Import\n")
	require.True(t, found)
	commands := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(section)
	require.NotNil(t, commands)

	checkout, err := filepath.Abs("..")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Symlink(checkout, filepath.Join(dir, "keepalive")))
	module := filepath.Join(dir, "replica")
	require.NoError(t, os.Mkdir(module, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(module, "main.go"), []byte(`package main

import (
	"fmt"

	"github.com/seed-7be6acb7/keepalive"
)

func main() { fmt.Println("the system default:", keepalive.SystemDefaults()) }
`), 0o666))
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", commands[1]+"go run .")
	cmd.Dir = module
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "type Dialer struct")
	assert.Contains(t, string(out), "the system default: idle=")
}
