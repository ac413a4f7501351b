package exporter

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

const docs = "../../../../docs/metrics"

// names returns the metrics of the exporter.
func names(t *testing.T) (names []string) {
	t.Helper()
	c := newCollector(Options{})
	for _, d := range append(descriptions, c.errors.Desc()) {
		m := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())
		require.NotNil(t, m, d)
		names = append(names, m[1])
	}
	return names
}

// docs/metrics.md has a row for each metric. The dashboard and the alerts use no
// others.
func TestDocsNameTheMetrics(t *testing.T) {
	t.Parallel()
	all := names(t)
	page, err := os.ReadFile(docs + ".md")
	require.NoError(t, err)
	for _, name := range all {
		assert.Contains(t, string(page), "\n| `"+name+"` | ")
	}
	used := make(map[string]bool)
	for _, file := range []string{docs + ".md", docs + "/dashboard.json", docs + "/alerts.yml", docs + "/alerts_test.yml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, name := range regexp.MustCompile(`\bkeepalive_\w+`).FindAllString(string(text), -1) {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
			assert.Contains(t, all, name, file)
			used[name] = used[name] || strings.HasSuffix(file, ".json")
		}
	}
	for name := range used {
		assert.True(t, used[name], "%s is not on the dashboard", name)
	}
}

// The alerts fire when they should, and not otherwise.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool := netlab.LookPath(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = docs
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s", out)
	}
}
