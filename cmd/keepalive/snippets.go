package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A snippet is how a program's settings say a policy.
type snippet struct {
	name  string
	lines []string // those that begin with # or // are comments

	slashes bool // comments begin with // as in Java

	// Whether the settings can say these, or bound data in flight in another way.
	userTimeout, maxRTO bool

	unrun string // how the settings were checked that no test runs a program with
}

// How settings were checked that no test runs a program with: see docs/plan.md.
const (
	decoded    = "decoded by its Go types"
	documented = "from its documentation"
)

// snippets returns c in the words of other programs, each with a comment on the options
// that they lack. The times of c are whole seconds, as [keepalive.Plan] returns them.
func snippets(t keepalive.Target, c keepalive.Config) []snippet {
	idle, interval := int(c.Idle/time.Second), int(c.Interval/time.Second)
	sysctls := sysctlsOf(t, c)
	all := []snippet{
		{name: "PostgreSQL", userTimeout: true, lines: timeoutLine(c, "tcp_user_timeout = %d", fmt.Sprintf("tcp_keepalives_idle = %d", idle),
			fmt.Sprintf("tcp_keepalives_interval = %d", interval), fmt.Sprintf("tcp_keepalives_count = %d", c.Count))},
		{name: "libpq", userTimeout: true, lines: []string{libpq(c, idle, interval)}},
		{name: "PgBouncer", userTimeout: true, lines: timeoutLine(c, "tcp_user_timeout = %d", "tcp_keepalive = 1", fmt.Sprintf("tcp_keepidle = %d", idle),
			fmt.Sprintf("tcp_keepintvl = %d", interval), fmt.Sprintf("tcp_keepcnt = %d", c.Count))},
		{name: "Redis", lines: redis(t, c)},
		{name: "MariaDB", lines: []string{fmt.Sprintf("tcp_keepalive_time = %d", idle),
			fmt.Sprintf("tcp_keepalive_interval = %d", interval), fmt.Sprintf("tcp_keepalive_probes = %d", c.Count)}},
		{name: "nginx", lines: []string{fmt.Sprintf("listen 443 so_keepalive=%ds:%ds:%d;", idle, interval, c.Count),
			"# in one listen of an address only, for every server that listens there",
			"# to upstreams: proxy_socket_keepalive on; takes the sysctls"}},
		{name: "HAProxy", userTimeout: true, lines: haproxy(c, idle, interval)},
		{name: "Envoy", userTimeout: true, maxRTO: true, unrun: decoded, lines: envoy(c)},
		{name: "Istio", unrun: decoded, lines: istio(c)},
		{name: "sshd", userTimeout: true, maxRTO: true, lines: sshd(t, c)},
		{name: "ssh", userTimeout: true, maxRTO: true, lines: ssh(t, c)},
		{name: "systemd .socket", lines: []string{"KeepAlive=yes", fmt.Sprintf("KeepAliveTimeSec=%d", idle),
			fmt.Sprintf("KeepAliveIntervalSec=%d", interval), fmt.Sprintf("KeepAliveProbes=%d", c.Count)}},
		{name: "Java", slashes: true, lines: java(c)},
		{name: "Python", userTimeout: true, maxRTO: true, lines: python(c)},
		{name: "Node.js", slashes: true, lines: node(t, c)},
		{name: "Rust", slashes: true, userTimeout: true, lines: rust(c)},
		{name: "sysctl.d", userTimeout: true, maxRTO: true, lines: sysctlLines(t, c, sysctls)},
		{name: "Docker", userTimeout: true, maxRTO: true, unrun: documented, lines: docker(sysctls)},
		{name: "Compose", userTimeout: true, maxRTO: true, unrun: decoded, lines: compose(sysctls)},
		{name: "Kubernetes", userTimeout: true, maxRTO: true, unrun: decoded, lines: kubernetes(sysctls)},
	}
	for i := range all {
		all[i].noteUnsupported(c)
		if all[i].unrun != "" {
			all[i].lines = append(all[i].lines, "# not run: "+all[i].unrun)
		}
		if all[i].slashes {
			withSlashes(all[i].lines)
		}
	}
	return all
}

// withSlashes makes comments begin with // where they begin with #.
func withSlashes(lines []string) {
	for i, line := range lines {
		if text, ok := strings.CutPrefix(line, "# "); ok {
			lines[i] = "// " + text
		}
	}
}

// cutComment splits a line that is a comment behind its mark.
func cutComment(line string) (mark, text string, ok bool) {
	for _, mark := range []string{"# ", "// "} {
		if text, ok := strings.CutPrefix(line, mark); ok {
			return mark, text, true
		}
	}
	return "", line, false
}

// noteUnsupported adds a comment on what of c a program has no setting for.
func (d *snippet) noteUnsupported(c keepalive.Config) {
	if c.UserTimeout != 0 && !d.userTimeout {
		d.lines = append(d.lines, "# lacks user_timeout: tcp_retries2 bounds data in flight")
	}
	if c.MaxRTO != 0 && !d.maxRTO {
		d.lines = append(d.lines, "# lacks max_rto: tcp_rto_max_ms bounds data in flight")
	}
}

// timeoutLine appends the setting for the user timeout, in milliseconds, where
// there is one.
func timeoutLine(c keepalive.Config, format string, lines ...string) []string {
	if c.UserTimeout != 0 {
		lines = append(lines, fmt.Sprintf(format, c.UserTimeout/time.Millisecond))
	}
	return lines
}

func libpq(c keepalive.Config, idle, interval int) string {
	line := fmt.Sprintf("keepalives=1 keepalives_idle=%d keepalives_interval=%d keepalives_count=%d", idle, interval, c.Count)
	if c.UserTimeout != 0 {
		line += fmt.Sprintf(" tcp_user_timeout=%d", c.UserTimeout/time.Millisecond)
	}
	return line
}

// redis has one number: it makes three probes a third of it apart
// (anetKeepAlive in src/anet.c). A second meets every demand that a plan meets.
func redis(t keepalive.Target, c keepalive.Config) []string {
	means := longestIdle(t, c, func(idle time.Duration) keepalive.Config {
		return keepalive.Config{Idle: idle, Interval: max(time.Second, (idle / 3).Truncate(time.Second)), Count: 3}
	})
	return []string{fmt.Sprintf("tcp-keepalive %d", means.Idle/time.Second), meaning(t, means)}
}

// longestIdle returns what a program means by the longest Idle, up to that of c,
// with which it meets t, or else by 1 s.
func longestIdle(t keepalive.Target, c keepalive.Config, means func(idle time.Duration) keepalive.Config) keepalive.Config {
	idle := c.Idle
	for idle > time.Second && !meets(means(idle), t) {
		idle -= time.Second
	}
	return means(idle)
}

// meaning returns a comment on what a program's one number means.
func meaning(t keepalive.Target, means keepalive.Config) string {
	comment := fmt.Sprintf("# means %v", means)
	if !meets(means, t) {
		detection, _ := means.DetectionTime()
		comment += fmt.Sprintf(", which may take %v", policy.WithTimerSlack(detection))
	}
	return comment
}

// meets reports whether c does what t demands of an idle connection, as
// [keepalive.Plan] counts.
func meets(c keepalive.Config, t keepalive.Target) bool {
	detection, _ := c.DetectionTime()
	return (t.Detect == 0 || policy.WithTimerSlack(detection) <= t.Detect) &&
		(t.IdleLimit == 0 || policy.WithTimerSlack(c.Idle+c.Interval) < t.IdleLimit)
}

func haproxy(c keepalive.Config, idle, interval int) []string {
	var lines []string
	for _, side := range []string{"cli", "srv"} {
		lines = append(lines, fmt.Sprintf("option %stcpka", side), fmt.Sprintf("%stcpka-idle %ds", side, idle),
			fmt.Sprintf("%stcpka-intvl %ds", side, interval), fmt.Sprintf("%stcpka-cnt %d", side, c.Count))
	}
	lines = append(lines, "# in defaults or listen: a frontend ignores srvtcpka")
	return timeoutLine(c, "# and on each bind and server line: tcp-ut %dms", lines...)
}
