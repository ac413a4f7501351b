package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSkipNamesTheRemedy(t *testing.T) {
	t.Parallel()
	_, missing := exec.LookPath("no-such-tool")
	for _, tt := range []struct {
		err  error
		want string
	}{
		{missing, `exec: "no-such-tool": executable file not found in $PATH: .ci/run install installs it`},
		{fmt.Errorf("unshare: %w", os.ErrPermission), "unshare: permission denied: run the tests as root, outside of containers"},
		{errors.New("no IPv6"), "no IPv6"},
	} {
		err := withRemedy(tt.err)
		assert.ErrorIs(t, err, tt.err)
		if os.PathSeparator == '/' { // other systems say it in other words
			assert.EqualError(t, err, tt.want)
		}
	}
}

func TestSkippedTestsAreReported(t *testing.T) {
	t.Parallel()
	var counts skipCounts
	for _, reason := range []string{"no ss", "no ip", "no ss"} {
		counts.add(errors.New(reason))
	}
	var out strings.Builder
	counts.report(&out)
	assert.Equal(t, "netlab: skipped 1 tests or benchmarks: no ip\nnetlab: skipped 2 tests or benchmarks: no ss\n", out.String())
}
