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

// A test or benchmark that is named in a document exists, in the package that
// the command names.
func TestCommandsFindTests(t *testing.T) {
	commands := regexp.MustCompile("go test ([^`#\n]*)")
	pattern := regexp.MustCompile(`-(?:run|fuzz) '?([^' ]+)'?`)
	directory := regexp.MustCompile(`(?:^| )(\.[^ ]*)`)
	found := 0
	for name, text := range documents(t) {
		for _, command := range commands.FindAllStringSubmatch(text, -1) {
			run := pattern.FindStringSubmatch(command[1])
			if run == nil || run[1] == "^$" {
				continue
			}
			found++
			dir := directory.FindStringSubmatch(command[1])
			if !assert.NotNil(t, dir, "%s: no package in %s", name, command[0]) {
				continue
			}
			tests := testsIn(t, filepath.Join("..", dir[1]))
			matches := regexp.MustCompile(strings.ReplaceAll(run[1], `\|`, "|")) // in a table
			assert.True(t, matchesAny(matches, tests), "%s: %s finds none of %v", name, command[0], tests)
		}
	}
	assert.GreaterOrEqual(t, found, 10)
}

// A test that is named alone exists in one of the modules.
func TestNamedTestsExist(t *testing.T) {
	var all []string
	require.NoError(t, filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			all = append(all, testsIn(t, path)...)
		}
		return err
	}))
	named := regexp.MustCompile("`(Test\\w+|Example_\\w+)")
	found := 0
	for name, text := range documents(t) {
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			found++
			assert.Contains(t, all, match[1], name)
		}
	}
	assert.GreaterOrEqual(t, found, 30)
}

func documents(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.md")
	require.NoError(t, err)
	texts := map[string]string{}
	for _, name := range append(names, "../README.md") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	return texts
}

// testsIn returns the names of the test functions in a directory.
func testsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, f := range regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)\w*)\(`).FindAllSubmatch(source, -1) {
			names = append(names, string(f[1]))
		}
	}
	return names
}

func matchesAny(pattern *regexp.Regexp, names []string) bool {
	for _, name := range names {
		if pattern.MatchString(name) {
			return true
		}
	}
	return false
}
