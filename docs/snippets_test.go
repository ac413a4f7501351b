package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/snippets"
	"github.com/stretchr/testify/require"
)

// The Go snippets of the documents stand in the examples, which are compiled.
func TestSnippetsAreCompiled(t *testing.T) {
	examples, err := filepath.Glob("../example*_test.go")
	require.NoError(t, err)
	compiled := ""
	for _, name := range examples {
		example, err := os.ReadFile(name)
		require.NoError(t, err)
		compiled += regexp.MustCompile(`(?m)^\t`).ReplaceAllString(string(example), "")
	}
	for name, least := range map[string]int{"../README.md": 5, "choosing.md": 3} {
		snippets.AssertCompiled(t, name, compiled, least)
	}
}
