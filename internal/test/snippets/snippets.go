// Package snippets helps to test that the Go code in documents compiles.
package snippets

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var block = regexp.MustCompile("(?s)```go\n(.*?)```")

// AssertCompiled asserts that a document has at least so many blocks of Go code,
// and that each is a part of source, from the beginning of a line. It returns the
// blocks.
func AssertCompiled(t testing.TB, document, source string, least int) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	for _, match := range block.FindAllStringSubmatch(string(text), -1) {
		code := match[1]
		assert.True(t, strings.Contains("\n"+source, "\n"+code), "in %s, but not compiled:\n%s", document, code)
		blocks = append(blocks, code)
	}
	assert.GreaterOrEqual(t, len(blocks), least, document)
	return blocks
}
