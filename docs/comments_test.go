package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// most is how many words a doc comment of the API has at most, but for those of
// packages. Detail about the kernel belongs into kernel.md.
const most = 160

// exportedComments returns the doc comments of the API in a folder, by the first
// words of each.
func exportedComments(t *testing.T, dir string) (comments []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	add := func(exported bool, doc *ast.CommentGroup) {
		if exported && doc != nil {
			comments = append(comments, doc.Text())
		}
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				add(n.Name.IsExported(), n.Doc)
				return false
			case *ast.GenDecl:
				for _, spec := range n.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok {
						add(s.Name.IsExported(), n.Doc)
					}
				}
			case *ast.Field:
				add(len(n.Names) > 0 && n.Names[0].IsExported(), n.Doc)
			}
			return true
		})
	}
	return comments
}

func TestCommentsAreShort(t *testing.T) {
	longest := 0
	for _, dir := range []string{"..", "../pathidle"} {
		for _, comment := range exportedComments(t, dir) {
			words := len(strings.Fields(comment))
			longest = max(longest, words)
			assert.LessOrEqual(t, words, most, "%.60s", comment)
		}
	}
	t.Log("the longest has", longest, "words")
}

// What comments cite of kernel.md is one of its headings.
func TestKernelAnchorsExist(t *testing.T) {
	page, err := os.ReadFile("kernel.md")
	require.NoError(t, err)
	anchors := make(map[string]bool)
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(page), -1) {
		anchor := strings.ToLower(strings.NewReplacer(" ", "-", "`", "", ",", "", "(", "", ")", "").Replace(heading[1]))
		anchors[anchor] = true
	}
	cited := 0
	for _, pattern := range []string{"../*.go", "../pathidle/*.go", "../internal/*/*.go"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, anchor := range regexp.MustCompile(`kernel\.md#([a-z0-9-]+)`).FindAllStringSubmatch(string(text), -1) {
				cited++
				assert.Contains(t, anchors, anchor[1], name)
			}
		}
	}
	assert.GreaterOrEqual(t, cited, 15)
}
