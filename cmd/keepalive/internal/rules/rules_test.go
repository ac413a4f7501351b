package rules

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func load(t testing.TB, text string) ([]*Rule, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "r.yaml"), []byte(text), 0o644))
	found, err := Load(dir)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), dir+"/", ""))
	}
	return found, err
}

// Every mistake is told with its line and column, before anything happens.
func TestMistakes(t *testing.T) {
	t.Parallel()
	const tightened = "  - policy: idle=60s\n    mode: tighten\n"
	for text, want := range map[string]string{
		"rules:\n  - remot: 10.0.0.0/8": `r.yaml:2:5: unknown key "remot", want one of cgroup, local, mode, mptcp, plan, policy, remote, unit`,
		"rule:\n  - policy: idle=60s":   `r.yaml:1:1: unknown key "rule", want one of rules`,
		"- policy: idle=60s":            "r.yaml:1:1: the file is not a mapping with rules",
		"rules:\n  policy: idle=60s":    "r.yaml:2:3: rules is not a list of rules",
		"rules:\n  - text":              "r.yaml:2:5: a rule is not a mapping with",
		"rules: []":                     "there is no rule, want a file such as",
		"":                              "there is no rule, want a file such as",
		"rules:\n":                      "r.yaml:1:7: rules is not a list of rules",
		"rules:\n" + tightened + "---\nrules: []": "r.yaml:4:1: this is a second document, want one",
		"rules:\n  - {": "r.yaml:2: did not find expected node content",
		"rules:\n  - policy: idle=60s\n    policy: idle=50s":    "r.yaml:3:5: policy is given twice",
		"rules:\n  - remote: 10.0.0.0/8":                        "r.yaml:2:5: the rule has no policy, want policy or plan",
		"rules:\n  - policy: idle=60s\n    plan: {detect: 9s}":  "r.yaml:3:11: the rule has a policy and a plan, want one of both",
		"rules:\n  - policy: idle=40000s":                       `r.yaml:2:13: policy: "idle=40000s": Idle is 11h6m40s, want 1s to 9h6m7s (32767 s), or 0 for the system default`,
		"rules:\n  - policy: idle=0s":                           "r.yaml:2:13: policy: idle is 0, want a value, or none to leave it to the program",
		"rules:\n  - policy: [idle=60s, idle=50s]":              "r.yaml:2:13: policy is not a text",
		"rules:\n  - policy: idel=5s":                           `r.yaml:2:13: policy: "idel=5s": unknown, want`,
		"rules:\n  - plan: {detect: [45s, 90s]}":                "r.yaml:2:20: detect is not a text",
		"rules:\n  - plan: {detect: 45s, in_flight: [max_rto]}": "r.yaml:2:36: in_flight is not a text",
		"rules:\n  - policy: off":                               "r.yaml:2:5: the policy is off, and tighten never loosens",
		"rules:\n  - policy: idle=60s\n    mode: loosen":        `r.yaml:3:11: mode is "loosen", want set or tighten`,
		"rules:\n  - plan: {}":                                  "r.yaml:2:11: the plan demands nothing, want detect, idle_limit or both",
		"rules:\n  - plan: {detect: 1s}":                        "r.yaml:2:11: plan: detect is 1s, want 4.5s or more",
		"rules:\n  - plan: {detect: 5s, in_flight: max_rto}":    "r.yaml:2:11: plan: detect is 5s, want 17.325s or more with in_flight: max_rto",
		"rules:\n  - plan: {detect: 5}":                         `r.yaml:2:20: detect: "5" is no duration above zero, want one such as 350s`,
		"rules:\n  - plan: {in_flight: no}":                     `r.yaml:2:23: in_flight: it is "no", want max_rto or user_timeout`,
		"rules:\n  - plan: {retect: 5s}":                        `r.yaml:2:12: unknown key "retect", want one of detect, idle_limit, in_flight`,
		"rules:\n  - {remote: 10.0.0.0/33, policy: off}":        `r.yaml:2:14: remote: "10.0.0.0/33" is no CIDR, want one such as 10.0.0.0/8`,
		"rules:\n  - {local: [], policy: off}":                  "r.yaml:2:13: local is an empty list",
		"rules:\n  - {remote: 'fe80::1%eth0', policy: off}":     `r.yaml:2:14: remote: "fe80::1%eth0" has a zone`,
		"rules:\n  - {unit: a/b, policy: off}":                  `r.yaml:2:12: unit: "a/b" is no unit of systemd`,
		"rules:\n  - {cgroup: /, policy: off}":                  `r.yaml:2:14: cgroup: "/" is the root`,
		"rules:\n  - {cgroup: a, policy: off}":                  `r.yaml:2:14: cgroup: "a" is no path of a control group`,
		"rules:\n  - {cgroup: /a/../b, policy: off}":            `r.yaml:2:14: cgroup: "/a/../b" has an element`,
		"rules: \x01":                                             "r.yaml: control characters are not allowed",
		"rules:\n  - policy:":                                     "r.yaml:2:12: policy is not a text",
		"rules:\n  - [policy]":                                    "r.yaml:2:5: a rule is not a mapping with",
		"rules:\n  - policy: off\n    mode: tighten":              "r.yaml:3:11: the policy is off, and tighten never loosens",
		"rules:\n  - {mode: [set], policy: off}":                  `r.yaml:2:12: mode is "", want set or tighten`,
		"rules:\n  - plan: {detect: 0s}":                          `r.yaml:2:20: detect: "0s" is no duration above zero`,
		"rules:\n  - plan: {detect: -5s}":                         `r.yaml:2:20: detect: "-5s" is no duration above zero`,
		"rules:\n  - {remote: '2001:db8::1%eth0', policy: off}":   `r.yaml:2:14: remote: "2001:db8::1%eth0" has a zone, which a rule can't match: want the address without %eth0`,
		"rules:\n  - {unit: '', policy: off}":                     `r.yaml:2:12: unit: "" is no unit of systemd`,
		"rules:\n  - {unit: '-.slice', policy: off}":              "r.yaml:2:12: unit: -.slice is the root",
		"rules:\n  - {cgroup: /a//b, policy: off}":                `r.yaml:2:14: cgroup: "/a//b" has an element`,
		"rules:\n  - {cgroup: /a/./b, policy: off}":               `r.yaml:2:14: cgroup: "/a/./b" has an element`,
		"rules:\n  - {unit: a, cgroup: /a.services, policy: off}": "r.yaml:2:5: the rule can never match: no group of unit is one of cgroup or below it",
		"rules:\n  - policy: off\n    mode: set\n  - {remote: 10.0.0.0/8, local: '::1', policy: off}":                                                                                        "r.yaml:4:5: the rule can never match: remote and local",
		"rules:\n  - {remote: ':80', policy: off}\n  - {remote: '10.0.0.0/8:80', policy: off}":                                                                                               "r.yaml:3:5: the rule can never match",
		"rules:\n  - {remote: 10.0.0.1, policy: off}\n  - {remote: 10.0.0.1, policy: off}":                                                                                                   "r.yaml:3:5: the rule can never match",
		"rules:\n  - {remote: 0.0.0.0/0, local: 10.0.0.0/8, policy: off}\n  - {local: 10.1.0.0/16, policy: off}":                                                                             "r.yaml:3:5: the rule can never match",
		"rules:\n  - {remote: 10.0.0.0/9, policy: off}\n  - {remote: 10.128.0.0/9, policy: off}\n  - {remote: [10.0.0.0/8, 11.0.0.0/8], policy: off}\n  - {remote: 10.0.0.0/8, policy: off}": "r.yaml:5:5: the rule can never match: the rule at r.yaml:4:5 matches first",
		"rules:\n  - {cgroup: /a/*, policy: off}\n  - {cgroup: /a/b, policy: off}":                                                                                                           "r.yaml:3:5: the rule can never match",
		"rules:\n  - {unit: io, policy: off}\n  - {cgroup: /_io.service/a, policy: off}":                                                                                                     "r.yaml:3:5: the rule can never match",
		"rules:\n  - {mptcp: allow, policy: off, unit: a}":                                                                                                                                   `r.yaml:2:13: mptcp is "allow", want refuse`,
		"rules:\n  - {mptcp: refuse, policy: off, local: ':80'}":                                                                                                                             "r.yaml:2:13: mptcp: refuse decides when a socket is made",
		"rules:\n  - {remote: 10.0.0.0/8, local: '::1', policy: off}":                                                                                                                        "r.yaml:2:5: the rule can never match: remote and local are of IPv4 and IPv6",
		"rules:\n  - {unit: a, cgroup: /system.slice/b.service, policy: off}":                                                                                                                "r.yaml:2:5: the rule can never match: no group of unit is one of cgroup or below it",
		"rules:\n" + tightened + "  - {remote: 10.0.0.0/8, policy: off}":                                                                                                                     "r.yaml:4:5: the rule can never match: the rule at r.yaml:2:5 matches first",
		"rules:\n  - {remote: ['0.0.0.0/1', '128.0.0.0/1'], policy: off}\n  - {remote: 10.0.0.0/8, policy: off}":                                                                             "r.yaml:3:5: the rule can never match: the rule at r.yaml:2:5",
		"rules:\n  - {remote: ['0.0.0.0/0', '::/0'], policy: off}\n  - {policy: idle=60s}":                                                                                                   "r.yaml:3:5: the rule can never match",
		"rules:\n  - {remote: 0.0.0.0/0, local: 0.0.0.0/0, policy: off}\n  - {remote: '10.0.0.0/8:80', policy: off}":                                                                         "r.yaml:3:5: the rule can never match",
		"rules:\n  - {remote: 10.0.0.0/8, policy: off}\n  - {remote: 11.0.0.0/8, policy: off}\n  - {remote: 10.1.0.0/16, policy: off}":                                                       "r.yaml:4:5: the rule can never match: the rule at r.yaml:2:5 matches first",
		"rules:\n  - {remote: 10.0.0.0/9, policy: off}\n  - {remote: 10.128.0.0/9, policy: off}\n  - {remote: 11.0.0.0/8, policy: off}\n  - {remote: 10.0.0.0/8, policy: off}":               "r.yaml:5:5: the rule can never match: the rule at r.yaml:3:5 matches first",
		"rules:\n  - {unit: 'a*', policy: off}\n  - {unit: ab, policy: off}":                                                                                                                 "r.yaml:3:5: the rule can never match",
		"rules:\n  - {unit: a, policy: off}\n  - {cgroup: /system.slice/a.service/b, policy: off}":                                                                                           "r.yaml:3:5: the rule can never match",
		"rules:\n  - {cgroup: /a/*, policy: off}\n  - {cgroup: /a/b*/c, local: ':80', policy: off}":                                                                                          "r.yaml:3:5: the rule can never match",
	} {
		_, err := load(t, text)
		if assert.Error(t, err, text) {
			assert.Contains(t, err.Error(), want, text)
			told, _, _ := strings.Cut(err.Error(), " want a file such as") // which has lines
			assert.NotContains(t, told, "\n", "it is one mistake: %s", text)
		}
	}
}

// None of these leaves another one nothing.
func TestNoMistakes(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"rules:\n  - {remote: '10.0.0.0/8:80', policy: off}\n  - {remote: 10.0.0.0/8, policy: off}",
		"rules:\n  - {remote: '0.0.0.0/0', policy: off}\n  - {policy: idle=60s}",
		"rules:\n  - {remote: 10.0.0.0/8, local: ':80', policy: off}\n  - {remote: 10.0.0.0/8, policy: off}",
		"rules:\n  - {unit: 'a*', policy: off}\n  - {unit: '*b', policy: off}",
		"rules:\n  - {unit: 'a', policy: off}\n  - {cgroup: /system.slice, policy: off}",
		"rules:\n  - {unit: a, cgroup: /system.slice, policy: off}",
		"rules:\n  - {unit: a, cgroup: /*, policy: off}",
		"rules:\n  - {cgroup: /a/b, policy: off}\n  - {cgroup: /a/*, policy: off}",
		"rules:\n  - {unit: [a, b], cgroup: /system.slice/b.service, policy: off}",
		"rules:\n  - {unit: io, cgroup: /_io.service, policy: off}",
		"rules:\n  - {local: 10.0.0.0/8, policy: off}",
		"rules:\n  - {cgroup: /a/b, policy: off}\n  - {cgroup: /a, policy: off}",
		"rules:\n  - {cgroup: /a, policy: off}\n  - {policy: idle=60s}",
		"rules:\n  - {unit: a, policy: off}\n  - {cgroup: '/user.slice/user@1.service/a.service', policy: off}", // of a user's systemd
		"rules:\n  - {remote: ['0.0.0.0/1', '::/0'], policy: off}\n  - {policy: idle=60s}",
		"rules:\n  - {remote: ['0.0.0.0/0', '::/1'], policy: off}\n  - {policy: idle=60s}",
		"rules:\n  - {remote: 10.0.0.0/10, policy: off}\n  - {remote: 10.128.0.0/9, policy: off}\n  - {remote: 10.0.0.0/8, policy: off}",
		"rules:\n  - {remote: 10.0.0.0/9, policy: off}\n  - {remote: 10.128.0.0/10, policy: off}\n  - {remote: 10.0.0.0/8, policy: off}",
		"rules:\n  - {remote: 10.128.0.0/9, policy: off}\n  - {remote: 10.0.0.0/8, policy: off}",
	} {
		_, err := load(t, text)
		assert.NoError(t, err, text)
	}
}

// What is no file in a directory is an error, and a pipe is not waited for.
func TestNoRegularFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a.yaml"), 0o755))
	_, err := Load(dir)
	assert.ErrorContains(t, err, "a.yaml is no regular file")
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("20-rest.yml", "rules:\n  - policy: idle=60s,interval=5s,count=3\n")
	write("10-first.yaml", "rules:\n  - remote: [10.0.0.0/8:5432, '::ffff:192.0.2.1']\n    unit: redis*\n    plan: {detect: 45s, idle_limit: 350s, in_flight: max_rto}\n")
	write("README", "no rule")
	write(".hidden.yaml", "no rule")
	rules, err := Load(dir)
	require.NoError(t, err)
	require.Len(t, rules, 2)
	plan, err := keepalive.Plan(keepalive.Target{Detect: 45 * time.Second, IdleLimit: 350 * time.Second, Unacked: true, SlowReads: true})
	require.NoError(t, err)
	assert.Equal(t, plan, rules[0].Config)
	assert.Equal(t, Set, rules[0].Mode)
	assert.Equal(t, Tighten, rules[1].Mode, "a rule without a match")
	assert.Equal(t, Position{filepath.Join(dir, "10-first.yaml"), 2, 5}, rules[0].Position)
	local := netip.MustParseAddrPort("10.0.0.1:4711")
	assert.True(t, rules[0].MatchesAddresses(local, netip.MustParseAddrPort("192.0.2.1:1")))
	assert.True(t, rules[0].MatchesAddresses(local, netip.MustParseAddrPort("10.1.1.1:5432")))
	assert.False(t, rules[0].MatchesAddresses(local, netip.MustParseAddrPort("10.1.1.1:5433")))
	assert.True(t, rules[1].MatchesAddresses(local, local))
}

// A rule says what it wants to do with a connection, and with MPTCP.
func TestKeys(t *testing.T) {
	t.Parallel()
	rules, err := load(t, `rules:
  - &first {unit: [a, b], remote: 10.0.0.0/8, policy: &p 'idle=60s', mode: tighten}
  - {cgroup: /c, policy: *p, mptcp: refuse}
  - plan: {idle_limit: 350s, in_flight: user_timeout}
    mode: set
    local: 10.0.0.1:80
  - plan: {detect: 45s}
`)
	require.NoError(t, err)
	require.Len(t, rules, 4)
	assert.Equal(t, time.Minute, rules[0].Config.Idle)
	assert.Equal(t, time.Minute, rules[1].Config.Idle, "by an alias")
	modes := ""
	for _, r := range rules {
		modes += r.Mode.String() + " "
	}
	assert.Equal(t, "tighten set set tighten ", modes)
	assert.False(t, rules[0].RefuseMPTCP)
	assert.True(t, rules[1].RefuseMPTCP)
	for i, target := range []keepalive.Target{{IdleLimit: 350 * time.Second, Unacked: true}, {Detect: 45 * time.Second}} {
		plan, err := keepalive.Plan(target)
		require.NoError(t, err)
		assert.Equal(t, plan, rules[2+i].Config)
	}
	here, there := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("192.0.2.1:1")
	assert.True(t, rules[2].MatchesAddresses(here, there))
	assert.False(t, rules[2].MatchesAddresses(there, here))
}

// The kernel's table has room for so many pairs, whatever has them.
func TestMostRows(t *testing.T) {
	t.Parallel()
	pairs := func(remote, local int) string {
		list := func(n int, format string) string {
			var all []string
			for i := range n {
				all = append(all, fmt.Sprintf(format, i))
			}
			return "[" + strings.Join(all, ", ") + "]"
		}
		return "  - {remote: " + list(remote, "'10.0.0.%d:1'") + ", local: " + list(local, "'10.0.1.%d:1'") + ", policy: off}\n"
	}
	_, err := load(t, "rules:\n"+pairs(41, 25))
	assert.EqualError(t, err, "r.yaml: the rules have 1025 pairs of a remote and a local end, and 1024 are the most: put addresses together")
	_, err = load(t, "rules:\n"+pairs(32, 31)+"  - {remote: ':2', local: ["+strings.Repeat("10.0.0.1, ", 32)+"], policy: off}\n")
	assert.NoError(t, err)
	_, err = load(t, "rules:\n"+pairs(32, 32)+"  - {remote: ':2', policy: off}\n")
	assert.ErrorContains(t, err, "1025 pairs")
}

func TestGroups(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		unit, group, path string
		want              bool
	}{
		{"redis", "", "/system.slice/redis.service", true},
		{"redis", "", "/system.slice/redis.service/worker", true},
		{"redis*", "", "/system.slice/system-redis.slice/redis@1.service", true},
		{"system.slice", "", "/system.slice/redis.service", true},
		{"redis", "", "/user.slice/user-1.slice/user@1.service/redis.service", false}, // of a user's systemd
		{"redis", "", "/system.slice", false},
		{"io", "", "/_io.service", true},
		{`a\x2db*.scope`, "", `/system.slice/a\x2db-1.scope`, true},
		{"", "/kubepods.slice", "/kubepods.slice/a/b", true},
		{"", "/kubepods.slice", "/kubepods.slice2", false},
		{"", "/kubepods.slice/*/cri-*", "/kubepods.slice/pod/cri-1", true},
		{"", "/kubepods.slice/*/cri-*", "/kubepods.slice/cri-1", false},
		{"redis", "/a", "/system.slice/redis.service", false},
		{"_io", "", "/__io.service", true},
		{"_io", "", "/_io.service", false}, // which is io
		{"a*b*c.service", "", "/a-b-b-c.service", true},
		{"a*b*c.service", "", "/a-c-b.service", false},
		{"re*server", "", "/system.slice/redis.service", false},
	} {
		var r Rule
		if tt.unit != "" {
			u, err := parseUnit(tt.unit)
			require.NoError(t, err)
			r.Units = append(r.Units, u)
		}
		if tt.group != "" {
			g, err := parseGroup(tt.group)
			require.NoError(t, err)
			r.Groups = append(r.Groups, g)
		}
		assert.Equal(t, tt.want, r.MatchesGroup(tt.path), tt)
	}
}

func TestTighten(t *testing.T) {
	t.Parallel()
	for _, tt := range [][3]string{ // what the program wants, the policy, and both
		{"idle=15s,interval=15s,count=9", "idle=60s,interval=5s,count=3", "idle=15s,interval=5s,count=12"},
		{"off,idle=2h,interval=75s,count=9", "idle=60s,interval=5s,count=3", "idle=60s,interval=5s,count=3"},
		{"idle=2h,interval=75s,count=9", "idle=60s,interval=5s,count=3", "idle=60s,interval=5s,count=3"},
		{"idle=10s,interval=1s,count=3", "idle=60s,interval=5s,count=3", "idle=10s,interval=1s,count=3"},
		{"idle=1s,interval=100s,count=9", "idle=600s,interval=1s,count=100", "idle=1s,interval=1s,count=127"},
		{"idle=60s,interval=75s,count=9", "idle=30s", "idle=30s,interval=75s,count=9"},
		{"idle=60s,interval=5s,count=3,user_timeout=90s", "user_timeout=75s", "idle=60s,interval=5s,count=3,user_timeout=75s"},
		{"idle=60s,interval=5s,count=3,user_timeout=30s", "user_timeout=75s", "idle=60s,interval=5s,count=3,user_timeout=30s"},
		{"idle=60s,interval=5s,count=3", "user_timeout=75s", "idle=60s,interval=5s,count=3"},
		{"idle=60s,interval=5s,count=3,max_rto=2m", "max_rto=2s", "idle=60s,interval=5s,count=3,max_rto=2s"},
		{"idle=60s,interval=5s,count=3,max_rto=1s", "max_rto=2s", "idle=60s,interval=5s,count=3,max_rto=1s"},
		{"off,idle=10s,interval=1s,count=3", "idle=60s,interval=5s,count=3", "idle=60s,interval=5s,count=3"},
		{"idle=60s,interval=5s,count=3,max_rto=0s", "max_rto=2s", "idle=60s,interval=5s,count=3,max_rto=2s"}, // the kernel lacks it
		{"idle=0s,interval=0s,count=9", "idle=60s,interval=5s,count=3", "idle=60s,interval=5s,count=1"},      // by sysctls
		{"idle=7200s,interval=0s,count=9", "idle=60s", "idle=60s,count=1"},                                   // which the policy leaves
	} {
		var c [3]keepalive.Config
		for i, text := range tt {
			var err error
			c[i], err = keepalive.Parse(text)
			require.NoError(t, err)
		}
		assert.Equal(t, c[2], Tighten.Of(c[1], c[0]), tt)
	}
}

// With Set the program has a say in what the policy leaves out alone.
func TestSet(t *testing.T) {
	t.Parallel()
	wanted := keepalive.Config{Idle: 10 * time.Second, Interval: time.Second, Count: 3, UserTimeout: 5 * time.Second}
	assert.Equal(t, keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 5 * time.Second},
		Set.Of(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second}, wanted))
	assert.True(t, Set.Of(keepalive.Config{Disable: true}, wanted).Disable)
}

// Tighten never loosens. But for the rounding of Count, and its maximum, it gives up a
// peer no sooner than the stricter of both.
func TestTightenNeverLoosens(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	some := func() keepalive.Config {
		second := func() time.Duration { return time.Duration(1+r.IntN([]int{20, 300, 32767}[r.IntN(3)])) * time.Second }
		return keepalive.Config{Idle: second(), Interval: second(), Count: 1 + r.IntN(127)}
	}
	for range 100_000 {
		wanted, policy := some(), some()
		held := Tighten.Of(policy, wanted)
		ofWanted, _ := wanted.DetectionTime()
		ofPolicy, _ := policy.DetectionTime()
		detected, ok := held.DetectionTime()
		require.True(t, ok)
		stricter := min(ofWanted, ofPolicy)
		require.LessOrEqual(t, detected, stricter, "%v and %v", wanted, policy)
		if held.Count < 127 {
			require.Greater(t, detected, stricter-held.Interval, "%v and %v", wanted, policy)
		}
		require.NoError(t, held.Validate())
	}
}
