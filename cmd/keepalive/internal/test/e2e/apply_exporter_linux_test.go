package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Metrics are served while rules are in force.
func TestApplyExporter(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{policy: '"+enforced+"'}")
	j := m.apply(t, "--exporter=127.0.0.1:0")
	url, ok := strings.CutPrefix(j.line(t), "Serving ")
	require.True(t, ok, url)
	url = strings.TrimSuffix(url, " until interrupted.")
	r, err := http.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	metrics, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	assert.Contains(t, string(metrics), "keepalive_connections")
	require.NoError(t, j.Process.Signal(unix.SIGTERM))
	assert.Zero(t, j.end(t), "%s", j.stderr.String())
	_, err = http.Get(url)
	assert.ErrorIs(t, err, unix.ECONNREFUSED)
}

// An address that is taken is an error before the rules are in force.
func TestApplyExporterWithoutItsAddress(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, "{policy: '"+enforced+"'}")
	j := start(t, m.command(t, "--exporter=192.0.2.1:80"))
	assert.Equal(t, exitProblem, j.end(t).ExitStatus())
	assert.Contains(t, j.stderr.String(), "keepalive: --exporter 192.0.2.1:80: listen tcp 192.0.2.1:80: bind: cannot assign requested address")
}
