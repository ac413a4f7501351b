package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The program of kernel-user-timeout.md shows that TCP_USER_TIMEOUT gives up a
// live peer, and that the peer is live. On a busy machine a pause may be
// forgotten, so it gets a few attempts.
func TestPauses(t *testing.T) {
	t.Parallel()
	netlab.SkipOn(t, netlab.GVisor, "it has no such fault")
	cc, err := exec.LookPath("cc")
	if err != nil {
		netlab.Skip(t, err)
	}
	page, err := os.ReadFile("kernel-user-timeout.md")
	require.NoError(t, err)
	source := regexp.MustCompile("(?s)```c\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, source)
	dir := t.TempDir()
	program := filepath.Join(dir, "pauses")
	require.NoError(t, os.WriteFile(program+".c", source[1], 0o600))
	out, err := exec.CommandContext(t.Context(), cc, "-Wall", "-Werror", "-pthread", "-o", program, program+".c").CombinedOutput()
	require.NoError(t, err, "%s", out)

	t.Run("with TCP_USER_TIMEOUT", func(t *testing.T) {
		t.Parallel()
		const want = `(?s)^first pause: 262144 of .* open .*second pause: .* Connection timed out`
		for range 5 {
			out, _ := exec.CommandContext(t.Context(), program, "4000").CombinedOutput()
			if regexp.MustCompile(want).Match(out) {
				return
			}
			t.Logf("%s", out)
		}
		t.Error("no second pause ended the connection")
	})
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		out, err := exec.CommandContext(t.Context(), program, "0").CombinedOutput()
		require.NoError(t, err)
		assert.Regexp(t, `long pause: 262144 of 262144 bytes were read, open`, string(out))
	})
}
