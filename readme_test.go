package keepalive_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the README shows is compiled: its Go snippets stand in example_test.go.
func TestREADMEIsCompiled(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	example, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	compiled := regexp.MustCompile(`(?m)^\t`).ReplaceAllString(string(example), "")

	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(readme, -1)
	assert.GreaterOrEqual(t, len(snippets), 3)
	for _, snippet := range snippets {
		assert.True(t, strings.Contains(compiled, string(snippet[1])), "not in example_test.go:\n%s", snippet[1])
	}
}
