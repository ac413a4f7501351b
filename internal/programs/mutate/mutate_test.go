package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The survivors of a small package are known, each for a reason.
func TestSurvivors(t *testing.T) {
	t.Parallel()
	accepted := filepath.Join(t.TempDir(), "accepted")
	require.NoError(t, os.WriteFile(accepted, []byte("# a comment\n"+
		"sample.go: Clamp: n > *: >= # the result is the same\n"+
		"sample.go: Clamp: n: zero # out of date\n"+
		"other.go: f: 0: greater # of a file that is not changed\n"), 0o600))
	o, err := parse([]string{"-accepted", accepted, "-least", "70", "./testdata/sample"})
	require.NoError(t, err)
	var out strings.Builder
	assert.EqualError(t, run(&out, o), "killed 64.3 %, want 70.0 %")
	assert.Equal(t, `sample.go:12: sample.go: Clamp: n < 0: <=
sample.go:12: sample.go: Clamp: 0: greater
sample.go:13: sample.go: Clamp: 0: greater
sample.go:15: sample.go: Clamp: limit: greater
sample.go:22: sample.go: Untested: return true: zero (no test gets there)
accepted, but not a survivor: sample.go: Clamp: n: zero
killed 9 of 14 (64.3 %), 1 survivors accepted
`, out.String())
}

// Only the survivors of an earlier run are tried again, wherever they are now.
func TestSurvivorsOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	earlier := filepath.Join(t.TempDir(), "earlier")
	require.NoError(t, os.WriteFile(earlier, []byte(`sample.go:9: sample.go: Clamp: n > limit: false
sample.go:99: sample.go: Untested: return true: zero (no test gets there)
killed 0 of 2 (0.0 %), 0 survivors accepted
`), 0o600))
	o, err := parse([]string{"-again", earlier, "./testdata/sample"})
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, run(&out, o))
	assert.Equal(t, `sample.go:22: sample.go: Untested: return true: zero (no test gets there)
killed 1 of 2 (50.0 %), 0 survivors accepted
`, out.String())
}

// What can't be carried out is an error before anything is compiled.
func TestParse(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"no package":                    nil,
		"missing closing )":             {"-files", "(", "."},
		"flag provided but not defined": {"-x", "."},
	} {
		_, err := parse(args)
		assert.ErrorContains(t, err, want)
	}
	bad := filepath.Join(t.TempDir(), "accepted")
	require.NoError(t, os.WriteFile(bad, []byte("x.go: f: y: true\n"), 0o600))
	assert.ErrorContains(t, run(nil, options{accepted: bad, packages: []string{"."}}), "accepted:1: no reason, want SURVIVOR # REASON")
}
