package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Settings stand beside the name of their program where the terminal has room for the
// longest, and else below it. Comments are wrapped, settings never.
func TestSnippetText(t *testing.T) {
	t.Parallel()
	all := []snippet{
		{name: "ssh", lines: []string{"A 1", "# of both sides"}},
		{name: "nginx", lines: []string{"listen 443 so_keepalive=30s:5s:3;"}},
	}
	beside := strings.TrimPrefix(`
  ssh    A 1
         # of both sides
  nginx  listen 443 so_keepalive=30s:5s:3;
`, "\n")
	assert.Equal(t, beside, snippetText(all, 0), "no terminal")
	assert.Equal(t, beside, snippetText(all, 42))
	assert.Equal(t, strings.TrimPrefix(`
  ssh    A 1
         # of both sides
  nginx
    listen 443 so_keepalive=30s:5s:3;
`, "\n"), snippetText(all, 41))
	assert.Equal(t, strings.TrimPrefix(`
  ssh
    A 1
    # of both
    # sides
  nginx
    listen 443 so_keepalive=30s:5s:3;
`, "\n"), snippetText(all, 16))
}
