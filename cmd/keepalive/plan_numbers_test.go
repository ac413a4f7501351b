package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbersOf are how programs name Idle, Interval, Count, UserTimeout and MaxRTO, the
// last two in milliseconds.
var numbersOf = map[string][]string{
	"PostgreSQL":          {`^tcp_keepalives_idle = (\d+)$`, `^tcp_keepalives_interval = (\d+)$`, `^tcp_keepalives_count = (\d+)$`, `^tcp_user_timeout = (\d+)$`},
	"libpq":               {`^keepalives=1 .*\bkeepalives_idle=(\d+)\b`, `\bkeepalives_interval=(\d+)\b`, `\bkeepalives_count=(\d+)\b`, `\btcp_user_timeout=(\d+)$`},
	"PgBouncer":           {`^tcp_keepidle = (\d+)$`, `^tcp_keepintvl = (\d+)$`, `^tcp_keepcnt = (\d+)$`, `^tcp_user_timeout = (\d+)$`},
	"MariaDB":             {`^tcp_keepalive_time = (\d+)$`, `^tcp_keepalive_interval = (\d+)$`, `^tcp_keepalive_probes = (\d+)$`},
	"nginx":               {`so_keepalive=(\d+)s:`, `so_keepalive=\d+s:(\d+)s:`, `so_keepalive=\d+s:\d+s:(\d+);$`},
	"HAProxy":             {`^clitcpka-idle (\d+)s$`, `^clitcpka-intvl (\d+)s$`, `^clitcpka-cnt (\d+)$`, `: tcp-ut (\d+)ms$`},
	"HAProxy, to servers": {`^srvtcpka-idle (\d+)s$`, `^srvtcpka-intvl (\d+)s$`, `^srvtcpka-cnt (\d+)$`, `: tcp-ut (\d+)ms$`},
	"Envoy": {`^- \{level: 6, name: 4, int_value: (\d+)\}`, `^- \{level: 6, name: 5, int_value: (\d+)\}`, `^- \{level: 6, name: 6, int_value: (\d+)\}`,
		`^- \{level: 6, name: 18, int_value: (\d+)\}`, `^- \{level: 6, name: 44, int_value: (\d+)\}`},
	"Istio":           {`\{time: (\d+)s,`, ` interval: (\d+)s,`, ` probes: (\d+)\}$`},
	"systemd .socket": {`^KeepAliveTimeSec=(\d+)$`, `^KeepAliveIntervalSec=(\d+)$`, `^KeepAliveProbes=(\d+)$`},
	"Java":            {`TCP_KEEPIDLE, (\d+)\);$`, `TCP_KEEPINTERVAL, (\d+)\);$`, `TCP_KEEPCOUNT, (\d+)\);$`},
	"Python":          {`TCP_KEEPIDLE, (\d+)\)$`, `TCP_KEEPINTVL, (\d+)\)$`, `TCP_KEEPCNT, (\d+)\)$`, `TCP_USER_TIMEOUT, (\d+)\)$`, `IPPROTO_TCP, 44, (\d+)\) `},
	"Rust":            {`with_time\(Duration::from_secs\((\d+)\)\)`, `with_interval\(Duration::from_secs\((\d+)\)\)`, `with_retries\((\d+)\)`, `set_tcp_user_timeout\(Some\(Duration::from_millis\((\d+)\)\)\)`},
	"sysctl.d":        {`^net.ipv4.tcp_keepalive_time = (\d+)$`, `^net.ipv4.tcp_keepalive_intvl = (\d+)$`, `^net.ipv4.tcp_keepalive_probes = (\d+)$`, ``, `^net.ipv4.tcp_rto_max_ms = (\d+)$`},
	"Docker":          {`tcp_keepalive_time=(\d+)\b`, `tcp_keepalive_intvl=(\d+)\b`, `tcp_keepalive_probes=(\d+)\b`, ``, `tcp_rto_max_ms=(\d+)$`},
	"Compose":         {`tcp_keepalive_time: (\d+)$`, `tcp_keepalive_intvl: (\d+)$`, `tcp_keepalive_probes: (\d+)$`, ``, `tcp_rto_max_ms: (\d+)$`},
	"Kubernetes": {`^  - \{name: net.ipv4.tcp_keepalive_time, value: "(\d+)"\}`, `^  - \{name: net.ipv4.tcp_keepalive_intvl, value: "(\d+)"\}`,
		`^  - \{name: net.ipv4.tcp_keepalive_probes, value: "(\d+)"\}`, ``, `^# - \{name: net.ipv4.tcp_rto_max_ms, value: "(\d+)"\}`},
}

// Each setting has the number of the policy that its name stands for. What the policy
// has not is not said.
func TestPlanNumbers(t *testing.T) {
	t.Parallel()
	const unsaid = -1
	all := demands(t)
	slow := keepalive.Target{Detect: 45 * time.Second, Unacked: true, SlowReads: true}
	for _, target := range []keepalive.Target{slow, {Detect: 45 * time.Second}} {
		c, err := keepalive.Plan(target)
		require.NoError(t, err)
		all[target] = c
	}
	for target, c := range all {
		lines := make(map[string][]string)
		for _, s := range snippets(target, c) {
			lines[s.name] = s.lines
		}
		lines["HAProxy, to servers"] = lines["HAProxy"]
		for program, expressions := range numbersOf {
			got := []int64{unsaid, unsaid, unsaid, unsaid, unsaid}
			want := []int64{int64(c.Idle / time.Second), int64(c.Interval / time.Second), int64(c.Count), c.UserTimeout.Milliseconds(), c.MaxRTO.Milliseconds()}
			for i := range want {
				if want[i] == 0 || i >= len(expressions) || expressions[i] == "" {
					want[i] = unsaid
				}
				if i >= len(expressions) || expressions[i] == "" {
					continue
				}
				expr := regexp.MustCompile(expressions[i])
				for _, line := range lines[program] {
					if m := expr.FindStringSubmatch(line); m != nil {
						require.EqualValues(t, unsaid, got[i], "%s says it twice: %q", program, lines[program])
						got[i], _ = strconv.ParseInt(m[1], 10, 64)
					}
				}
			}
			assert.Equal(t, want, got, "%s: %v: %q", program, target, lines[program])
		}
	}
}

// evaluate returns the policy that a literal of Go is.
func evaluate(t testing.TB, literal string) (c keepalive.Config) {
	t.Helper()
	expr, err := parser.ParseExpr(literal)
	require.NoError(t, err)
	number := func(e ast.Expr) int64 {
		n, err := strconv.ParseInt(e.(*ast.BasicLit).Value, 10, 64)
		require.NoError(t, err)
		return n
	}
	require.Equal(t, "keepalive.Config", literal[:strings.Index(literal, "{")])
	for _, e := range expr.(*ast.CompositeLit).Elts {
		field := e.(*ast.KeyValueExpr)
		to := reflect.ValueOf(&c).Elem().FieldByName(fmt.Sprint(field.Key))
		product, ok := field.Value.(*ast.BinaryExpr)
		if !ok {
			to.SetInt(number(field.Value))
			continue
		}
		unit := map[string]time.Duration{"Second": time.Second, "Millisecond": time.Millisecond}[product.Y.(*ast.SelectorExpr).Sel.Name]
		to.SetInt(number(product.X) * int64(unit))
	}
	return c
}

// The Go literal is the policy.
func TestGoLiteral(t *testing.T) {
	t.Parallel()
	for target, c := range demands(t) {
		assert.Equal(t, c, evaluate(t, goLiteral(c)), target)
	}
	assert.Equal(t, "keepalive.Config{Idle: 60 * time.Second, Count: 3, UserTimeout: 1500 * time.Millisecond}",
		goLiteral(keepalive.Config{Idle: time.Minute, Count: 3, UserTimeout: 1500 * time.Millisecond}))
}
