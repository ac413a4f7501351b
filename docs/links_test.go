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

// The links of the documents, and what Go comments cite of docs/, lead to a file
// and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	found := 0
	for name, text := range documents(t) {
		for _, link := range regexp.MustCompile(`\]\(([^():]+)\)`).FindAllStringSubmatch(text, -1) {
			found++
			assertTarget(t, filepath.Dir(name), link[1], name)
		}
	}
	assert.Greater(t, found, 50)

	require.NoError(t, filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		source, err := os.ReadFile(path)
		for _, cited := range regexp.MustCompile(`//.*\b(docs/[\w-]+\.md#[\w-]+)`).FindAllSubmatch(source, -1) {
			assertTarget(t, "..", string(cited[1]), path)
		}
		return err
	}))
}

// assertTarget asserts that a link that stands in a directory leads to a file,
// and to a heading if it names one.
func assertTarget(t *testing.T, dir, link, from string) {
	t.Helper()
	file, anchor, hasAnchor := strings.Cut(link, "#")
	if file == "" {
		file = filepath.Base(from)
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if !hasAnchor {
		_, err = os.Stat(filepath.Join(dir, file))
		assert.NoError(t, err, "%s: %s", from, link)
		return
	}
	assert.NoError(t, err, "%s: %s", from, link)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllSubmatch(text, -1) {
		if anchorOf(string(heading[1])) == anchor {
			return
		}
	}
	t.Errorf("%s: no heading for %s", from, link)
}

// anchorOf returns the anchor that GitHub gives a heading.
func anchorOf(heading string) string {
	lower := strings.ReplaceAll(strings.ToLower(heading), " ", "-")
	return regexp.MustCompile(`[^\w-]`).ReplaceAllString(lower, "")
}
