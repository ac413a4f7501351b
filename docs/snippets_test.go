package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the documents show is compiled: their Go snippets stand in the examples.
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
		document, err := os.ReadFile(name)
		require.NoError(t, err)
		snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(document, -1)
		assert.GreaterOrEqual(t, len(snippets), least, name)
		for _, snippet := range snippets {
			assert.True(t, strings.Contains(compiled, string(snippet[1])), "in %s, but in no example:\n%s", name, snippet[1])
		}
	}
}
