package main

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// demand is one that every program can meet, with a user timeout for those that
// have it.
var demand = keepalive.Target{Detect: 45 * time.Second, IdleLimit: 350 * time.Second, Unacked: true}

func planned(t testing.TB) keepalive.Config {
	t.Helper()
	c, err := keepalive.Plan(demand)
	require.NoError(t, err)
	return c
}

// settings returns what plan says to a program, but for comments.
func settings(t testing.TB, program string) (lines []string) {
	t.Helper()
	for _, d := range snippets(demand, planned(t)) {
		if d.name != program {
			continue
		}
		for _, line := range d.lines {
			if _, _, isComment := cutComment(line); !isComment {
				lines = append(lines, line)
			}
		}
	}
	require.NotEmpty(t, lines)
	return lines
}

// assertHolds wants a socket to hold the policy, as far as it is one.
func assertHolds(t testing.TB, want keepalive.Config, flags ...string) {
	t.Helper()
	wanted := fmt.Sprintln(!want.Disable, toSeconds(want.Idle), toSeconds(want.Interval), want.Count, toSeconds(want.UserTimeout))
	got := ""
	for giveUp := time.Now().Add(time.Minute); got != wanted && time.Now().Before(giveUp); time.Sleep(10 * time.Millisecond) {
		l := list(t, flags...)
		if len(l) > 0 {
			got = fmt.Sprintln(l[0].KeepAlive, l[0].Idle, l[0].Interval, l[0].Count, l[0].UserTimeout)
		}
	}
	assert.Equal(t, wanted, got)
}

func withoutUserTimeout(c keepalive.Config) keepalive.Config {
	c.UserTimeout = 0
	return c
}

func TestPlanForPostgres(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	var args []string
	for _, line := range settings(t, "PostgreSQL") {
		args = append(args, "-c", strings.ReplaceAll(line, " ", ""))
	}
	require.Len(t, args, 2*4)
	startPostgres(t, args...)
	client := startPsql(t, strings.Join(settings(t, "libpq"), " "))
	l := list(t, "--pid", pid(client))
	require.Len(t, l, 1)
	assertHolds(t, planned(t), "--pid", pid(client))
	assertHolds(t, planned(t), "--local", ":5432", "--command", "postgres", "--remote", l[0].Local.String())
}

func TestPlanForRedis(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t, strings.Fields("--"+settings(t, "Redis")[0])...)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	said := keepalive.Config{Idle: 20 * time.Second, Interval: 6 * time.Second, Count: 3}
	assertHolds(t, said, "--pid", pid(server), "--remote", conn.LocalAddr().String())
	assert.Contains(t, fmt.Sprint(snippets(demand, planned(t))), fmt.Sprintf("# means %v", said))
	assert.True(t, meets(said, demand))
	more := keepalive.Config{Idle: 21 * time.Second, Interval: 7 * time.Second, Count: 3}
	assert.False(t, meets(more, demand), "the next one")

	short := keepalive.Target{IdleLimit: 2300 * time.Millisecond, Detect: 4500 * time.Millisecond}
	assert.Equal(t, []string{"tcp-keepalive 1", "# means idle=1s,interval=1s,count=3"}, redis(short, keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 3}))
}

func TestPlanForMariaDB(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	var args []string
	for _, line := range settings(t, "MariaDB") {
		args = append(args, "--"+strings.ReplaceAll(line, " ", ""))
	}
	server := startMariaDB(t, args...)
	conn := dial(t, "127.0.0.1:3306")
	assertHolds(t, withoutUserTimeout(planned(t)), "--pid", pid(server), "--remote", conn.LocalAddr().String())
}

func TestPlanForNginx(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	startNginx(t, strings.Replace(settings(t, "nginx")[0], "443", "127.0.0.1:8080", 1))
	conn := dial(t, "127.0.0.1:8080")
	assertHolds(t, withoutUserTimeout(planned(t)), "--command", "nginx", "--remote", conn.LocalAddr().String())
}

func TestPlanForHAProxy(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	backend, out := startGo(t, "127.0.0.1:7000")
	timeout := fmt.Sprintf("tcp-ut %dms", planned(t).UserTimeout.Milliseconds())
	assert.Contains(t, fmt.Sprint(snippets(demand, planned(t))), "# and on each bind and server line: "+timeout)
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`defaults
	mode tcp
	timeout connect 10s
	timeout client 10m
	timeout server 10m
	%[1]s
listen proxy
	bind 127.0.0.1:8080 %[2]s
	server backend 127.0.0.1:7000 %[2]s
`, strings.Join(settings(t, "HAProxy"), "\n\t"), timeout)), 0o644))
	proxy := exec.Command(netlab.LookPath(t, "haproxy"), "-db", "-f", config)
	start(t, proxy)
	conn := dial(t, "127.0.0.1:8080")
	out.await(t, "accepted")
	assertHolds(t, planned(t), "--pid", pid(proxy), "--remote", conn.LocalAddr().String())
	assertHolds(t, planned(t), "--pid", pid(proxy), "--remote", "127.0.0.1:7000")
	require.NotEmpty(t, list(t, "--pid", pid(backend)))
}

func TestPlanForSSHD(t *testing.T) {
	t.Parallel()
	var args []string
	for _, line := range settings(t, "sshd") {
		args = append(args, "-o", strings.Replace(line, " ", "=", 1))
	}
	sshd, key := proctest.SSHD(t)
	out, err := exec.Command(sshd, append([]string{"-T", "-f", "/dev/null", "-h", key}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, line := range settings(t, "sshd") {
		assert.Contains(t, string(out), strings.ToLower(line)+"\n")
	}
}

func TestPlanForSystemd(t *testing.T) {
	t.Parallel()
	analyze := netlab.LookPath(t, "systemd-analyze")
	dir := t.TempDir()
	unit := filepath.Join(dir, "x.socket")
	verify := func(lines ...string) string {
		text := "[Socket]\nListenStream=7000\n" + strings.Join(lines, "\n") + "\n"
		require.NoError(t, os.WriteFile(unit, []byte(text), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x.service"), []byte("[Service]\nExecStart=/bin/true\n"), 0o644))
		out, _ := exec.Command(analyze, "verify", unit).CombinedOutput()
		return string(out)
	}
	assert.NotContains(t, verify(settings(t, "systemd .socket")...), "x.socket:")
	assert.Contains(t, verify("KeepAliveProbe=3"), "x.socket:", "it would notice")
}

func TestPlanForTheMachine(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	file := filepath.Join(t.TempDir(), "keepalive.conf")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(settings(t, "sysctl.d"), "\n")), 0o644))
	out, err := exec.Command(netlab.LookPath(t, "sysctl"), "-p", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Equal(t, withoutUserTimeout(planned(t)), keepalive.SystemDefaults())

	slow := keepalive.Target{Detect: 45 * time.Second, Unacked: true, SlowReads: true}
	c, err := keepalive.Plan(slow)
	require.NoError(t, err)
	assert.Contains(t, sysctlLines(slow, c, sysctlsOf(slow, c)), "net.ipv4.tcp_rto_max_ms = 2000")
}

// A program that has no setting for a part of the policy gets a comment on that.
func TestPlanSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for demands, want := range map[keepalive.Target]string{
		demand: "lacks user_timeout: tcp_retries2 bounds data in flight\n: Redis MariaDB nginx Istio systemd .socket Java Node.js",
		{Detect: 45 * time.Second, Unacked: true, SlowReads: true}: "lacks max_rto: tcp_rto_max_ms bounds data in flight\n: " +
			"PostgreSQL libpq PgBouncer Redis MariaDB nginx HAProxy Istio systemd .socket Java Node.js Rust",
		{Detect: 45 * time.Second}: "",
	} {
		c, err := keepalive.Plan(demands)
		require.NoError(t, err)
		missing := make(map[string][]string)
		for _, d := range snippets(demands, c) {
			said := ""
			for _, line := range d.lines {
				if _, comment, _ := cutComment(line); strings.HasPrefix(comment, "lacks") {
					said += comment + "\n"
				}
			}
			if said != "" {
				missing[said] = append(missing[said], d.name)
			}
		}
		got := ""
		for said, names := range missing {
			got += said + ": " + strings.Join(names, " ")
		}
		assert.Equal(t, want, got, c)
	}
}

// What plan --json prints is what it prints as text.
func TestPlanJSON(t *testing.T) {
	t.Parallel()
	flags := []string{"plan", "--detect", "45s", "--idle-limit", "350s", "--unacked"}
	asText := runCommand(t, flags...)
	asJSON := runCommand(t, append(flags, "--json")...)
	require.Equal(t, exitDone, asJSON.code, asJSON.stderr)
	var p planJSON
	require.NoError(t, json.Unmarshal([]byte(asJSON.stdout), &p))
	assert.Equal(t, planned(t), p.Policy)
	assert.InDelta(t, 40, float64(value(t, p.Unnoticed)), 5)
	assert.Contains(t, asText.stdout, p.Go)
	require.Len(t, p.Elsewhere, len(snippets(demand, p.Policy)))
	for _, e := range p.Elsewhere {
		assert.Contains(t, asText.stdout, e.Name)
		for _, line := range e.Lines {
			assert.Contains(t, asText.stdout, line)
		}
	}
}

func TestPlanPrints(t *testing.T) {
	t.Parallel()
	r := runCommand(t, "plan", "--detect", "45s", "--idle-limit", "60s", "--unacked")
	require.Equal(t, exitDone, r.code, r.stderr)
	c := planned(t)
	parsed, err := keepalive.Parse(strings.TrimSpace(strings.Split(r.stdout, "\n")[1]))
	require.NoError(t, err)
	assert.Equal(t, c, parsed)
	assert.Contains(t, r.stdout, "  "+goLiteral(c)+"\n")
	_, err = parser.ParseExpr(goLiteral(c))
	assert.NoError(t, err)
	assert.Contains(t, r.stdout, "MariaDB")
	assert.NotContains(t, r.stdout, "\x1b")
	for _, width := range []uint16{20, 40, 80} { // nothing that is to be copied is cut
		shown := show(t, width, 100, "NO_COLOR=1", "plan", "--detect", "45s", "--idle-limit", "60s", "--unacked")
		assert.Contains(t, shown, "  "+c.String()+"\n")
		assert.Contains(t, shown, "  "+goLiteral(c)+"\n")
		for _, d := range snippets(demand, c) {
			for _, line := range d.lines {
				if _, _, isComment := cutComment(line); !isComment {
					assert.Contains(t, shown, "  "+line+"\n", "%d", width)
				}
			}
		}
		assert.NotContains(t, shown, "…")
	}
	for line := range strings.Lines(show(t, 60, 100, "NO_COLOR=1", "plan", "--detect", "45s", "--idle-limit", "60s", "--unacked")) {
		if strings.ContainsAny(line, "├─") {
			assert.LessOrEqual(t, len([]rune(line)), 61, line)
		}
	}
}

// What is printed for people has a heading, and below it what the heading says.
func TestPlanSections(t *testing.T) {
	t.Parallel()
	r := runCommand(t, "plan", "--detect", "45s", "--idle-limit", "350s", "--unacked")
	require.Equal(t, exitDone, r.code, r.stderr)
	sections := regexp.MustCompile(`(?m)^[A-Z]\w+\n`).Split(r.stdout, -1)
	assert.Equal(t, []string{"Policy\n", "Timeline\n", "Elsewhere\n"}, regexp.MustCompile(`(?m)^[A-Z]\w+\n`).FindAllString(r.stdout, -1))
	require.Len(t, sections, 4)
	c := planned(t)
	lines := strings.Split(sections[1], "\n")
	require.Len(t, lines, 4, "with a blank line behind it")
	parsed, err := keepalive.Parse(strings.TrimSpace(lines[0]))
	require.NoError(t, err)
	assert.Equal(t, c, parsed)
	assert.Equal(t, c, evaluate(t, strings.TrimSpace(lines[1])))
	assert.Empty(t, lines[2])

	lines = strings.Split(sections[2], "\n")
	require.Len(t, lines, 8)
	widest := 0
	for i, what := range []string{"idle", "firewall", "in flight"} {
		assert.Regexp(t, "^  "+what+" +├.*(x|→)$", lines[2*i])
		widest = max(widest, len([]rune(lines[2*i])))
	}
	assert.Equal(t, 78, widest, "80 columns, less a margin")
	assert.Empty(t, lines[6])

	column := 0
	for _, line := range strings.Split(strings.TrimSuffix(sections[3], "\n"), "\n") {
		m := regexp.MustCompile(`^  (?:\S+(?: \S+)?  +| +)`).FindString(line)
		if column == 0 {
			column = len(m)
		}
		assert.GreaterOrEqual(t, len(m), column, "%q has its settings beside the names", line)
	}
}

// With --slow-reads MaxRTO takes the place of the user timeout.
func TestPlanSparesSlowReads(t *testing.T) {
	t.Parallel()
	r := runCommand(t, "plan", "--detect", "45s", "--unacked", "--slow-reads")
	require.Equal(t, exitDone, r.code, r.stderr)
	c, err := keepalive.Plan(keepalive.Target{Detect: 45 * time.Second, Unacked: true, SlowReads: true})
	require.NoError(t, err)
	assert.Zero(t, c.UserTimeout)
	assert.NotZero(t, c.MaxRTO)
	assert.Contains(t, r.stdout, "\n  "+c.String()+"\n")
}

// Envoy takes the numbers of Linux.
func TestPlanForEnvoy(t *testing.T) {
	t.Parallel()
	c := planned(t)
	c.MaxRTO = 2 * time.Second
	for name, o := range map[string][3]int64{
		"SO_KEEPALIVE":     {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":     {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int64(c.Idle.Seconds())},
		"TCP_KEEPINTVL":    {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int64(c.Interval.Seconds())},
		"TCP_KEEPCNT":      {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, int64(c.Count)},
		"TCP_USER_TIMEOUT": {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, c.UserTimeout.Milliseconds()},
		"TCP_RTO_MAX_MS":   {unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, 2000},
	} {
		assert.Contains(t, envoy(c), fmt.Sprintf("- {level: %d, name: %d, int_value: %d} # %s", o[0], o[1], o[2], name))
	}
}

func TestPlanWrongUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"plan":                            "this demands nothing, want --detect, --idle-limit or both",
		"plan --detect 1s":                "--detect is 1s, want 4.5s or more",
		"plan --idle-limit 1s":            "--idle-limit is 1s, want more than 2.25s",
		"plan --detect 45":                `--detect is "45", want a duration with a unit, such as 45s`,
		"plan --detect 45s --slow-reads":  "--slow-reads without --unacked",
		"plan --detect 45s now":           `unexpected argument "now", want: keepalive plan [FLAG...]`,
		"ls 10m":                          `unexpected argument "10m", want: keepalive ls [FLAG...]`,
		"ls --hang":                       "--hang needs a limit: --hang never, or a duration such as --hang 10m",
		"ls --hang-in-flight":             "--hang-in-flight needs a limit: --hang-in-flight never, or a duration such as --hang-in-flight 10m",
		"ls --hang --json":                `--hang: a limit comes first, never or a duration such as 10m`,
		"ls --hang=10":                    "it lacks a unit, want one such as 10s",
		"ls --hang-in-flight 1.5":         "it lacks a unit, want one such as 1.5s",
		"ls --hang ever":                  `"ever" is no duration, want one such as 10m, or never`,
		"ls --hang 0s":                    "0s is no limit, want a duration above zero, such as 10m",
		"ls --watch 1":                    "it lacks a unit, want one such as 1s",
		"set off --hang":                  "--hang needs a limit",
		"set --hang off":                  `"off" is no duration, want one such as 10m, or never`,
		"ls --watch -1s":                  "--watch is -1s, want a duration above zero",
		"ls --watch 1s --json":            "--json and --watch exclude each other, want one of them",
		"ls now":                          `unexpected argument "now", want: keepalive ls [FLAG...]`,
		"ls --pid":                        "--pid has no value, want ",
		"ls --nonsense":                   "there is no flag --nonsense",
		"ls -x":                           "there is no flag -x",
		"ls --=x":                         "--=x is no flag, want one such as --help",
		"ls --pid abc":                    `--pid is "abc", want a whole number`,
		"ls --pid 99999999999999999999":   `--pid is "99999999999999999999", want a whole number`,
		"ls --local nonsense":             `--local: "nonsense" is no address`,
		"set":                             "POLICY is missing, want: keepalive set [FLAG...] POLICY",
		"set off idle=1s":                 `unexpected argument "idle=1s", want: keepalive set [FLAG...] POLICY`,
		"set --dry-run=perhaps off":       `--dry-run is "perhaps", want true or false`,
		"defaults now":                    `unexpected argument "now", want: keepalive defaults [FLAG...]`,
		"nonsense":                        `there is no command "nonsense", want one of apply, attach, `,
		"help nonsense":                   `there is no command "nonsense", want one of apply, attach, `,
		"help ls nonsense":                `there is no command "ls nonsense"`,
		"completion nonsense":             `there is no command "completion nonsense", want one of bash, `,
		"completion bash now":             `unexpected argument "now", want: keepalive completion bash`,
		"plan --detect":                   "--detect has no value, want a duration such as 10m",
		"plan --detect 45s --idle-limit=": `--idle-limit is "", want a duration such as 10m`,
	} {
		r := runCommand(t, strings.Fields(args)...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.Contains(t, r.stderr, want, args)
		assert.Contains(t, r.stderr, "--help'.\n", args)
		assert.Empty(t, r.stdout, args)
	}
	root := runCommand(t, "--help").stdout
	at := 0
	for _, heading := range []string{"\nSee:\n", "\nChange:\n", "\nHold:\n", "\nChoose:\n"} {
		i := strings.Index(root, heading)
		assert.Greater(t, i, at, "%q in %s", heading, root)
		at = i
	}
	for _, c := range append(newRoot().Commands(), newRoot()) {
		r := runCommand(t, append(strings.Fields(c.CommandPath())[1:], "--help")...)
		for line := range strings.Lines(r.stdout) {
			assert.LessOrEqual(t, len(strings.TrimSuffix(line, "\n")), 80, line)
		}
	}
	for _, args := range []string{"", "--help", "help ls", "ls --help", "completion", "completion bash", "help completion bash"} {
		r := runCommand(t, strings.Fields(args)...)
		assert.Equal(t, exitDone, r.code, args)
		assert.NotEmpty(t, r.stdout, args)
	}
}
