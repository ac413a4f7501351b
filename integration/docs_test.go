package integration_test

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

const doc = "../docs/clients.md"

// What docs/clients.md shows is compiled: its snippets stand in the packages below
// clients, within a function or outside.
func TestSnippetsAreCompiled(t *testing.T) {
	var compiled strings.Builder
	for _, pattern := range []string{"clients/*.go", "clients/compiled/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			text := read(t, file)
			compiled.WriteString(text)
			compiled.WriteString(regexp.MustCompile(`(?m)^\t`).ReplaceAllString(text, ""))
		}
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, doc), -1)
	assert.GreaterOrEqual(t, len(snippets), 24)
	for _, snippet := range snippets {
		assert.True(t, strings.Contains(compiled.String(), snippet[1]), "not compiled:\n%s", snippet[1])
	}
}

// What docs/clients.md says of a client was read in the version that is compiled,
// and where it says so there is what it names.
func TestCitationsExist(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\|.*<br>`(\\S+) (\\S+)`.*").FindAllStringSubmatch(read(t, doc), -1)
	assert.GreaterOrEqual(t, len(rows), 17)
	for _, row := range rows {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", row[1]).Output()
		require.NoError(t, err, row[1])
		version, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		assert.Equal(t, version, row[2], row[1])
		citations := regexp.MustCompile("`([^` ]+)`, ([\\w/]+\\.go)").FindAllStringSubmatch(row[0], -1)
		assert.NotEmpty(t, citations, row[1])
		for _, citation := range citations {
			name := citation[1][strings.LastIndex(citation[1], ".")+1:]
			text := read(t, filepath.Join(dir, citation[2]))
			assert.True(t, strings.Contains(text, name), "%s: no %s in %s", row[1], name, citation[2])
		}
	}
}

// The tests that docs/clients.md names exist.
func TestNamedTestsExist(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var source strings.Builder
	for _, file := range files {
		source.WriteString(read(t, file))
	}
	for _, name := range regexp.MustCompile("`(Test\\w+)").FindAllStringSubmatch(read(t, doc), -1) {
		assert.Contains(t, source.String(), "func "+name[1]+"(t *testing.T)")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
