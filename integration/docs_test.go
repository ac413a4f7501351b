package integration_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/snippets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const doc = "../docs/clients.md"

// The snippets of docs/clients.md are declarations of the packages below clients,
// which are compiled. Whatever they use is shown too.
func TestSnippetsAreCompiled(t *testing.T) {
	var compiled strings.Builder
	declared := make(map[string]bool)
	for _, pattern := range []string{"clients/*.go", "clients/compiled/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			compiled.WriteString(read(t, file))
			for _, name := range declarations(parse(t, read(t, file))) {
				declared[name] = true
			}
		}
	}
	shown := "package clients\n"
	for _, snippet := range snippets.AssertCompiled(t, doc, compiled.String(), 42) {
		shown += snippet
	}
	file := parse(t, shown)
	for _, name := range declarations(file) {
		delete(declared, name)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if ident, ok := n.(*ast.Ident); ok {
			assert.False(t, declared[ident.Name], "%s is used and not shown", ident.Name)
		}
		return true
	})
}

func parse(t *testing.T, source string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	require.NoError(t, err, source)
	return file
}

// declarations returns the names that a file declares, of methods apart.
func declarations(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				names = append(names, d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names = append(names, s.Name.Name)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

// What docs/clients.md says of a client was read in the version that is compiled,
// and where it says so, in the table or in the client's section, there is what it
// names.
func TestCitationsExist(t *testing.T) {
	text := read(t, doc)
	rows := regexp.MustCompile("(?m)^\\|.*\\(#([\\w-]+)\\)<br>`(\\S+) (\\S+)`.*").FindAllStringSubmatch(text, -1)
	assert.GreaterOrEqual(t, len(rows), 24)
	for _, row := range rows {
		anchor, module := row[1], row[2]
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}} {{.Dir}}", module).Output()
		version, dir, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), " ")
		if err != nil || dir == "" {
			netlab.Skip(t, fmt.Errorf("%s is not in the module cache (%v): go -C integration vet ./... downloads it", module, err))
		}
		assert.Equal(t, version, row[3], module)
		citations := regexp.MustCompile("`([^` ]+)`,\\s([\\w/]+\\.go)").FindAllStringSubmatch(row[0]+section(t, text, anchor), -1)
		assert.NotEmpty(t, citations, module)
		for _, citation := range citations {
			name := citation[1][strings.LastIndex(citation[1], ".")+1:]
			source := read(t, filepath.Join(dir, citation[2]))
			assert.True(t, strings.Contains(source, name), "%s: no %s in %s", module, name, citation[2])
		}
	}
}

// section returns the text below the heading that a link of the page leads to.
func section(t *testing.T, text, anchor string) string {
	t.Helper()
	headings := regexp.MustCompile("(?m)^#+ (.*)$").FindAllStringSubmatchIndex(text, -1)
	for i, h := range headings {
		title := strings.ReplaceAll(strings.ToLower(text[h[2]:h[3]]), " ", "-")
		if regexp.MustCompile(`[^\w-]`).ReplaceAllString(title, "") != anchor {
			continue
		}
		if i+1 == len(headings) {
			return text[h[1]:]
		}
		return text[h[1]:headings[i+1][0]]
	}
	t.Errorf("no heading for #%s", anchor)
	return ""
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
