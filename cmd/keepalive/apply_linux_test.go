package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

func loadPolicies(t testing.TB, text string) machinePolicies {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	found, err := rules.Load(file)
	require.NoError(t, err)
	return found
}

// A rule for a group of cgroup v1 is an error, where nothing of cgroup v2 matches.
func TestApplyOldGroups(t *testing.T) {
	t.Parallel()
	m := loadPolicies(t, "rules:\n  - {cgroup: /docker/*, policy: idle=60s}\n  - {unit: redis, policy: idle=60s}\n  - {cgroup: /made/later, policy: idle=60s}\n")
	old := []cgroup.OldGroup{{Path: "/docker/1", Controllers: "memory"}, {Path: "/system.slice/other.service", Controllers: "name=systemd"}}
	err := m.areOld(old, map[string]uint64{"/": 1})
	assert.ErrorContains(t, err, "rules.yaml:2:5: the rule can never match: /docker/1 is a control group of version 1 (memory) on this machine")
	assert.ErrorContains(t, err, "rules.yaml:3:5: the rule can never match: systemd has its units in control groups of version 1 on this machine")
	assert.NotContains(t, err.Error(), "rules.yaml:4")
	assert.NoError(t, m[1:].areOld(old, map[string]uint64{"/": 1, "/system.slice": 2}), "the unit is not running")
	assert.NoError(t, m.areOld(nil, map[string]uint64{"/": 1}))
}

// Rules are for connections as programs of eBPF have them: rows and members.
func TestApplyRows(t *testing.T) {
	t.Parallel()
	m := loadPolicies(t, `rules:
  - {remote: [10.0.0.0/8, '2001:db8::/32'], local: [':80', 0.0.0.0/0], policy: idle=1s}
  - {cgroup: /a/b, local: ':81', policy: idle=2s, mode: tighten}
  - {cgroup: /a, mptcp: refuse, policy: idle=3s}
  - {policy: idle=4s}
`)
	rows := m.rows()
	require.Len(t, rows, 6, "no connection has IPv6 and IPv4")
	for i, number := range []int{0, 0, 0, 1, 2, 3} {
		assert.Equal(t, m.rule(number), rows[i].Rule)
	}
	members := func(path string) (has []int) {
		s := m.membership(path)
		for i := range rows {
			if s.Rows.Has(i) {
				has = append(has, i)
			}
		}
		return append(has, int(s.RefuseMPTCP))
	}
	assert.Equal(t, []int{0, 1, 2, 4, 5, 1}, members("/a"))
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 1}, members("/a/b/c"))
	assert.Equal(t, []int{0, 1, 2, 5, 0}, members("/other"))
	assert.Equal(t, m.membership("/other"), m.membershipOfUnknown())
	connection := func(local, remote string) *sockets.Socket {
		return &sockets.Socket{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
	}
	assert.Equal(t, 0, m.of(connection("192.0.2.1:5", "10.1.1.1:6"), "/a"))
	assert.Equal(t, 1, m.of(connection("192.0.2.1:81", "11.1.1.1:6"), "/a/b"))
	assert.Equal(t, 3, m.of(connection("192.0.2.1:81", "11.1.1.1:6"), ""))
	assert.Equal(t, -1, m[:3].of(connection("192.0.2.1:81", "11.1.1.1:6"), ""))
}

// A connection of a group that is not known has the rules without a group where they
// are for the whole hierarchy, whatever its path is, and none elsewhere, as in a cgroup
// namespace.
func TestApplyUnknownGroups(t *testing.T) {
	t.Parallel()
	s := &sockets.Socket{State: sockets.Established, Group: 77, Local: netip.MustParseAddrPort("192.0.2.1:5"), Remote: netip.MustParseAddrPort("192.0.2.2:5")}
	a := &applyCommand{
		policies: loadPolicies(t, "rules:\n  - {cgroup: /a, policy: idle=1s}\n  - {policy: idle=2s}\n"),
		root:     "/host/cgroup",
		groups:   map[string]uint64{"/": 1, "/a": 9},
	}
	number, ok := a.ruleOf(s, a.pathsByID())
	assert.True(t, ok)
	assert.Equal(t, 1, number)
	a.root, a.groups["/"] = "", 55
	_, ok = a.ruleOf(s, a.pathsByID())
	assert.False(t, ok)
	s.Group = 9
	number, ok = a.ruleOf(s, a.pathsByID())
	assert.True(t, ok)
	assert.Zero(t, number)
}

const applyExamples = "../../examples/apply/"

// The rules in examples and in docs/apply.md have no mistake, and do what their
// comments say.
func TestApplyExamples(t *testing.T) {
	t.Parallel()
	found, err := rules.Load(applyExamples + "replication.yaml")
	require.NoError(t, err)
	replication := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	assert.Equal(t, replication, found[0].Config)
	assert.Equal(t, replication, found[1].Config)

	document, err := os.ReadFile("../../docs/apply.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		loadPolicies(t, block[1])
	}

	text, err := os.ReadFile(applyExamples + "kubernetes.yaml")
	require.NoError(t, err)
	var configMap struct{ Data map[string]string }
	require.NoError(t, yaml.Unmarshal(text, &configMap))
	for _, r := range loadPolicies(t, configMap.Data["rules.yaml"]) {
		assert.Equal(t, rules.Tighten, r.Mode)
	}
	loadPolicies(t, helpRules(t))
}

// helpRules returns the rules in the help.
func helpRules(t *testing.T) (text string) {
	t.Helper()
	_, rest, found := strings.Cut(newApply().Long, "\n    rules:\n")
	require.True(t, found)
	text = "rules:\n"
	for line := range strings.Lines(rest) {
		indented, ok := strings.CutPrefix(line, "    ")
		if !ok {
			return text
		}
		text += indented
	}
	return text
}

// paths.yaml has every path of the table in docs/choosing.md, and keeps it.
func TestApplyPaths(t *testing.T) {
	t.Parallel()
	found, err := rules.Load(applyExamples + "paths.yaml")
	require.NoError(t, err)
	text, err := os.ReadFile(applyExamples + "paths.yaml")
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	document, err := os.ReadFile("../../docs/choosing.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(document), "\n| path |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(strings.TrimSpace(table), "\n")[2:]
	require.Len(t, found, len(rows)+1)
	for i, row := range rows {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		path := strings.TrimPrefix(lines[found[i].Line-2], "  # ")
		assert.Contains(t, strings.Trim(cells[0], "["), path)
		assert.Equal(t, cells[2], fmt.Sprintf("%.0f s", found[i].Config.Idle.Seconds()), path)
		assert.Equal(t, cells[3], fmt.Sprintf("%.0f s", found[i].Config.Interval.Seconds()), path)
		assert.Equal(t, rules.Tighten, found[i].Mode)
	}
}

// The unit has the capabilities that TestApplyCapabilities finds to be enough, and
// systemd has no complaint.
func TestApplyUnit(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(applyExamples + "keepalive-apply.service")
	require.NoError(t, err)
	assert.Contains(t, string(unit), "\nCapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_SYS_PTRACE\n")
	analyze := netlab.LookPath(t, "systemd-analyze")
	file := filepath.Join(t.TempDir(), "keepalive-apply.service")
	there := strings.Replace(string(unit), "/usr/local/bin/keepalive", program(t, "keepalive"), 1)
	require.NoError(t, os.WriteFile(file, []byte(there), 0o644))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.NotContains(t, string(out), filepath.Base(file))
}
