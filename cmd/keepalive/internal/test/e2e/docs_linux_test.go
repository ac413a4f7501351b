package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests that docs/run.md names exist.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../*/*_test.go")
	require.NoError(t, err)
	below, err := filepath.Glob("../*/*_test.go")
	require.NoError(t, err)
	files = append(files, below...)
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(text)
	}
	text, err := os.ReadFile("../../../../../docs/run.md")
	require.NoError(t, err)
	names := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1)
	assert.GreaterOrEqual(t, len(names), 20)
	for _, name := range names {
		assert.Contains(t, source.String(), "func "+name[1]+"(t *testing.T)")
	}
}
