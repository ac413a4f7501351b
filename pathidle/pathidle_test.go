package pathidle_test

import (
	"context"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestInvalid(t *testing.T) {
	for want, tt := range map[string]struct {
		network string
		options pathidle.Options
	}{
		`pathidle: network is "udp", want tcp, tcp4 or tcp6`:                               {"udp", pathidle.Options{}},
		"pathidle: Max is 999ms, want 1s to 720h0m0s, or 0 for an hour":                    {"tcp", pathidle.Options{Max: 999 * time.Millisecond}},
		"pathidle: Precision is -1s, want 1s to 720h0m0s, or 0 for 5 % of the answer":      {"tcp", pathidle.Options{Precision: -time.Second}},
		"pathidle: Precision is 500ms, want 1s to 720h0m0s, or 0 for 5 % of the answer":    {"tcp", pathidle.Options{Precision: time.Second / 2}},
		"pathidle: Connections is -1, want 1 to 1000, or 0 for 8":                          {"tcp", pathidle.Options{Connections: -1}},
		"pathidle: Max is -1h0m0s, want 1s to 720h0m0s, or 0 for an hour":                  {"tcp", pathidle.Options{Max: -time.Hour}},
		"pathidle: Max is 2562047h47m16.854775807s, want 1s to 720h0m0s, or 0 for an hour": {"tcp", pathidle.Options{Max: math.MaxInt64}},
		"pathidle: Precision is 720h0m1s, want 1s to 720h0m0s, or 0 for 5 % of the answer": {"tcp", pathidle.Options{Precision: 720*time.Hour + time.Second}},
		"pathidle: Connections is 1001, want 1 to 1000, or 0 for 8":                        {"tcp", pathidle.Options{Connections: 1001}},
	} {
		o := tt.options
		o.Progress = func(pathidle.Progress) { t.Error("begun") }
		o.Dial = func(context.Context, string, string) (net.Conn, error) {
			t.Error("dialed")
			return nil, net.ErrClosed
		}
		r, err := pathidle.Measure(t.Context(), tt.network, "127.0.0.1:1", &o)
		assert.EqualError(t, err, want)
		assert.Zero(t, r)
		if tt.network == "tcp" {
			assert.Zero(t, o.Duration(time.Minute))
		}
	}
}

// The least and the greatest values are valid.
func TestRange(t *testing.T) {
	const month = 720 * time.Hour
	valid := func(o pathidle.Options) bool {
		_, err := pathidle.Measure(t.Context(), "udp", "127.0.0.1:1", &o)
		return strings.Contains(err.Error(), "network")
	}
	for _, o := range []pathidle.Options{
		{Max: time.Second}, {Max: month}, {Precision: time.Second}, {Precision: month}, {Connections: 1}, {Connections: 1000},
	} {
		assert.True(t, valid(o), "%+v", o)
	}
	for _, o := range []pathidle.Options{
		{Max: time.Second - 1}, {Max: month + 1}, {Precision: time.Second - 1}, {Precision: month + 1}, {Connections: -1}, {Connections: 1001},
	} {
		assert.False(t, valid(o), "%+v", o)
	}
}

// A limit that is greater than Max is none.
func TestDurationOfMax(t *testing.T) {
	o := pathidle.Options{Max: time.Minute}
	assert.Equal(t, o.Duration(0), o.Duration(time.Minute+1))
	assert.Equal(t, o.Duration(0), o.Duration(time.Hour))
	assert.Greater(t, o.Duration(time.Minute), o.Duration(0))
	assert.NotEqual(t, o.Duration(0), o.Duration(1), "a path that forgets at once")
}

func TestDuration(t *testing.T) {
	var o *pathidle.Options
	minute, hour := o.Duration(time.Minute), o.Duration(0)
	assert.Greater(t, minute, 2*time.Minute)
	assert.Less(t, minute, 4*time.Minute)
	assert.Greater(t, hour, time.Hour)
	assert.Less(t, hour, 75*time.Minute)
	assert.Equal(t, hour, o.Duration(2*time.Hour), "beyond Max")
	assert.Equal(t, hour, new(pathidle.Options).Duration(0))
	assert.Less(t, (&pathidle.Options{Max: time.Minute}).Duration(0), 75*time.Second)
	assert.Greater(t, (&pathidle.Options{Connections: 1}).Duration(time.Minute), 2*minute)
}

// A simulation ends whatever the options are.
func TestDurationEnds(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	below := func(most time.Duration) time.Duration {
		return time.Duration(math.Exp(random.Float64() * math.Log(float64(most)))).Round(time.Millisecond)
	}
	for range 100 {
		o := &pathidle.Options{
			Max:         time.Second + below(719*time.Hour),
			Precision:   time.Second + below(719*time.Hour),
			Connections: 1 + random.IntN(40),
		}
		limit := below(math.MaxInt64)
		d := o.Duration(limit)
		assert.Positive(t, d, "%+v, limit %v", o, limit)
	}
	assert.Greater(t, (&pathidle.Options{Max: 720 * time.Hour}).Duration(-1), 720*time.Hour)
}

// The table in docs/pathidle.md.
func TestDurationsInTheDocs(t *testing.T) {
	document, err := os.ReadFile("../docs/pathidle.md")
	require.NoError(t, err)
	rows := regexp.MustCompile(`(?m)^\| (\d+ s|nothing up to an hour) \| (\S+) \| (\S+) \|$`).FindAllStringSubmatch(string(document), -1)
	require.Len(t, rows, 6)
	for _, row := range rows {
		o := pathidle.Options{}
		limit, err := time.ParseDuration(strings.ReplaceAll(row[1], " ", ""))
		if err == nil {
			o.Max = 2 * limit
		}
		assert.Equal(t, row[2], o.Duration(limit).Round(time.Second).String(), row)
		o.Connections = 16
		assert.Equal(t, row[3], o.Duration(limit).Round(time.Second).String(), row)
	}
}

func TestResult(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		result pathidle.Result
		text   string
		plan   string
	}{
		{pathidle.Result{Verdict: pathidle.Found, Survived: 344 * s, Lost: 358 * s},
			"the path forgets a connection that is idle for 5m44s to 5m58s", "idle=3m49s,interval=1m16s,count=3"},
		{pathidle.Result{Verdict: pathidle.Found, Survived: 2 * s, Lost: 2949 * time.Millisecond},
			"the path forgets a connection that is idle for 2s to 2.9s", "keepalive: IdleLimit is 2s, want more than 2.25s, or 0 for none"},
		{pathidle.Result{Verdict: pathidle.NothingLost, Survived: time.Hour},
			"the path knows a connection that is idle for 1h", "idle=40m0s,interval=13m19s,count=3"},
		{pathidle.Result{Verdict: pathidle.ServerCloses, Survived: 104 * s, After: 120 * s},
			"the server closes connections after 2m; the path remembers for longer than 1m44s", "idle=1m9s,interval=23s,count=3"},
		{pathidle.Result{Verdict: pathidle.ServerSends, Survived: 15 * s, After: 15 * s},
			"the server sends something every 15s; the path remembers for longer than 15s", "idle=10s,interval=3s,count=3"},
		{pathidle.Result{Verdict: pathidle.Varies, Survived: 50 * s, Lost: 63 * s},
			"the path forgets some connections that are idle for 1m3s, and others later", "idle=33s,interval=11s,count=3"},
		{pathidle.Result{Verdict: pathidle.NeverAnswers, Lost: 2 * s},
			"no probe was answered, although the server accepts connections", "pathidle: no idle time is known to survive"},
		{pathidle.Result{Verdict: pathidle.EndsByAge, Survived: 8 * s, After: 10 * s},
			"the path ends connections after 10s, although probes are answered", "pathidle: the path ends connections after 10s, whatever the policy"},
		{pathidle.Result{Verdict: pathidle.NothingLost, Survived: time.Hour, Outages: 1},
			"the path knows a connection that is idle for 1h; the network failed meanwhile", "idle=40m0s,interval=13m19s,count=3"},
		{pathidle.Result{Verdict: pathidle.NothingLost, Survived: time.Hour, Outages: 2},
			"the path knows a connection that is idle for 1h; the network failed 2 times meanwhile", "idle=40m0s,interval=13m19s,count=3"},
		{pathidle.Result{}, "nothing is known of the path", "pathidle: no idle time is known to survive"},
		{pathidle.Result{Survived: 90 * s}, "the path remembers for longer than 1m30s", "idle=1m0s,interval=19s,count=3"},
		{pathidle.Result{Survived: 90 * s, Lost: 120 * s},
			"the path remembers for longer than 1m30s, and forgets after 2m at the latest", "idle=1m0s,interval=19s,count=3"},
	} {
		assert.Equal(t, tt.text, tt.result.String())
		c, err := tt.result.Plan(keepalive.Target{})
		if err != nil {
			assert.EqualError(t, err, tt.plan)
		} else {
			assert.Equal(t, tt.plan, c.String())
		}
	}
}

// The stricter demand counts.
func TestResultPlan(t *testing.T) {
	r := pathidle.Result{Verdict: pathidle.Found, Survived: time.Minute, Lost: 63 * time.Second}
	plan := func(target keepalive.Target) keepalive.Config {
		c, err := r.Plan(target)
		require.NoError(t, err)
		want, err := keepalive.Plan(target)
		require.NoError(t, err)
		if target.IdleLimit == 0 || target.IdleLimit > r.Survived {
			target.IdleLimit = r.Survived
			want, err = keepalive.Plan(target)
			require.NoError(t, err)
		}
		assert.Equal(t, want, c)
		return c
	}
	plan(keepalive.Target{IdleLimit: 30 * time.Second})
	plan(keepalive.Target{IdleLimit: time.Hour})
	c := plan(keepalive.Target{Detect: 30 * time.Second, Unacked: true})
	assert.NotZero(t, c.UserTimeout)
	_, err := r.Plan(keepalive.Target{Detect: time.Second})
	assert.Error(t, err)
}
