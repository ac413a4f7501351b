package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "100")
	netlab.Sysctl(t, "tcp_keepalive_probes", "4")
	netlab.Sysctl(t, "tcp_retries2", "4")
	r := runCommand(t, "defaults")
	require.Equal(t, exitDone, r.code, r.stderr)
	lines := strings.Split(regexp.MustCompile(` +`).ReplaceAllString(r.stdout, " "), "\n")
	assert.Equal(t, []string{
		"SYSCTL VALUE SET BY",
		"net.ipv4.tcp_keepalive_time 100 s somebody since boot: no file sets it",
		"net.ipv4.tcp_keepalive_intvl 75 s the kernel: no file sets it",
		"net.ipv4.tcp_keepalive_probes 4 somebody since boot: no file sets it",
		"net.ipv4.tcp_retries2 4 somebody since boot: no file sets it",
		"net.ipv4.tcp_rto_max_ms 120000 ms the kernel: no file sets it",
		"",
		"POLICY UNNOTICED IN FLIGHT",
		"sysctl idle=1m40s,interval=1m15s,count=4 6m40s 6.2s",
		"Go's net idle=15s,interval=15s,count=9 2m30s 6.2s",
		"none off never 6.2s",
		"",
	}, lines)
}

// Linux has tcp_rto_max_ms since 6.15.
func TestDefaultsOfAnOlderKernel(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.MountOver(t, "/proc/sys/net/ipv4", map[string]string{"tcp_retries2": "15\n"})
	r := runCommand(t, "defaults")
	require.Equal(t, exitDone, r.code, r.stderr)
	assert.Regexp(t, `(?m)^net\.ipv4\.tcp_retries2 +15 +the kernel`, r.stdout)
	assert.Regexp(t, `(?m)^net\.ipv4\.tcp_rto_max_ms +\? +nobody: this kernel lacks it, or /proc hides it$`, r.stdout)
}
