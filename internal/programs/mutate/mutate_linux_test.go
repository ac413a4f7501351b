package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A program that a test runs has the mutants too. What a test has started does not
// outlive it.
func TestPrograms(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-programs", "./testdata/tool", "./testdata/tool"})
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, run(&out, o))
	assert.Equal(t, "killed 6 of 6 (100.0 %), 0 survivors accepted\n", out.String())
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, p := range processes {
		cmdline, _ := os.ReadFile(p)
		assert.NotEqual(t, "sleep\x00100.25\x00", string(cmdline))
	}
}
