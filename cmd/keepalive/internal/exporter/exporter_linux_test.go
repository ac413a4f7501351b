package exporter

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// policies are those of the connections of [startHolder].
var policies = []keepalive.Config{
	{Idle: time.Minute, Interval: 5 * time.Second, Count: 3},
	{Idle: time.Minute, Interval: 5 * time.Second, Count: 3},
	{Disable: true, Idle: time.Minute, Interval: 5 * time.Second, Count: 4, UserTimeout: 20 * time.Second},
}

// startHolder starts a process of some name that holds connections and their listening
// socket until the test ends: metrics leave out what their own process holds alone.
func startHolder(t testing.TB, name string) (peers []net.Conn) {
	t.Helper()
	ln := tcptest.Listen(t, &keepalive.ListenConfig{Config: keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 5}}, "tcp4")
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Symlink(netlab.LookPath(t, "sleep"), path))
	cmd := exec.Command(path, "1000")
	hold := func(socket interface{ File() (*os.File, error) }) {
		file, err := socket.File()
		require.NoError(t, err)
		t.Cleanup(func() { file.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	hold(ln.(*net.TCPListener))
	for _, p := range policies {
		conn, peer := tcptest.Pair(t, new(net.Dialer), ln)
		require.NoError(t, p.Apply(conn))
		hold(conn.(*net.TCPConn))
		peers = append(peers, peer)
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return peers
}

// scrapeOf returns what the exporter serves.
func scrapeOf(t testing.TB, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

// Both readers return the same metrics, which follow the conventions.
func TestMetrics(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	startHolder(t, "kaexp-metrics")
	for _, reading := range []sockets.Reading{"", sockets.ByDescriptor} {
		body := scrapeOf(t, handler(newCollector(Options{Reading: reading, Programs: 1000, Policies: 1000})))
		of := func(metric string) map[string]string {
			values := make(map[string]string)
			for _, m := range regexp.MustCompile(`(?m)^keepalive_`+metric+`\{command="kaexp-metrics",(.*?)unit="[^"]*"(.*)\} (.*)$`).FindAllStringSubmatch(body, -1) {
				values[m[1]+m[2]] = m[3]
			}
			return values
		}
		assert.Equal(t, map[string]string{
			`policy="idle=1m0s,interval=5s,count=3",`:                      "2",
			`policy="off,idle=1m0s,interval=5s,count=4,user_timeout=20s",`: "1",
		}, of("connections"))
		assert.Equal(t, map[string]string{`policy="idle=1m0s,interval=5s,count=5",`: "1"}, of("listening_sockets"))
		idle := of("connections_unnoticed_idle_seconds_bucket")
		assert.Equal(t, "0", idle[`,le="60"`])
		assert.Equal(t, "2", idle[`,le="120"`])
		assert.Equal(t, "3", idle[`,le="+Inf"`])
		assert.Equal(t, map[string]string{"": "150"}, of("connections_unnoticed_idle_seconds_sum"), "75 s each")
		inFlight := of("connections_unnoticed_in_flight_seconds_bucket")
		assert.Equal(t, "1", inFlight[`,le="30"`])
		assert.Equal(t, "3", inFlight[`,le="1800"`])
		assert.Equal(t, map[string]string{"": "1"}, of("connections_unnoticed_forever"))
		assert.Equal(t, map[string]string{"": "0"}, of("suspect_connections"))
		assert.Regexp(t, `(?m)^keepalive_losses_total\{cause="keepalive",command="kaexp-metrics",unit="[^"]*"\} 0$`, body)
		assert.NotContains(t, body, "127.0.0.1:", "an address in a label")
		assertConventions(t, body)
	}
}

func assertConventions(t *testing.T, body string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), netlab.LookPath(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	out, err := cmd.CombinedOutput()
	assert.NoError(t, err)
	assert.Empty(t, string(out))
}

// What exceeds the limits is counted as other, and the largest are not.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	startHolder(t, "kaexp-a")
	startHolder(t, "kaexp-b")
	body := scrapeOf(t, handler(newCollector(Options{Programs: 1, Policies: 1})))
	series := func(pattern string) int {
		return len(regexp.MustCompile(`(?m)^keepalive_`+pattern).FindAllString(body, -1))
	}
	assert.LessOrEqual(t, series(`connections\{`), 4, "a program and other, a policy and other")
	assert.Equal(t, 2, series(`suspect_connections\{`))
	assert.Equal(t, 1, series(`suspect_connections\{command="other",unit="other"\}`))
	assert.Positive(t, series(`connections\{command="[^"]*",policy="other"`))
	assert.Equal(t, 1, series(`exporter_folded_values\{label="program"\} [1-9]`))
	assert.Equal(t, 1, series(`exporter_folded_values\{label="policy"\} [1-9]`))
}

// A program that is gone makes room, with its losses.
func TestAdmissionForgets(t *testing.T) {
	t.Parallel()
	c := newCollector(Options{Programs: 2})
	a, b, d := program{"a", ""}, program{"b", ""}, program{"d", ""}
	now := time.Now()
	assert.True(t, c.admit(a, now))
	assert.True(t, c.admit(b, now))
	c.losses[loss{a, sockets.ByKeepAlive}], c.losses[loss{b, sockets.ByKeepAlive}] = 1, 2
	assert.False(t, c.admit(d, now.Add(forgetAfter)))
	assert.True(t, c.admit(b, now.Add(forgetAfter)))
	assert.True(t, c.admit(d, now.Add(forgetAfter+time.Second)))
	assert.False(t, c.admit(a, now.Add(forgetAfter+time.Second)))
	assert.Equal(t, map[loss]uint64{{b, sockets.ByKeepAlive}: 2}, c.losses)
}

// Serve counts a loss between scrapes, says what it can't do, and ends with its
// context.
func TestServe(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error)
	go func() { ended <- Serve(ctx, ln, Options{}) }()
	get := func(path string) string {
		answer, err := http.Get("http://" + ln.Addr().String() + path)
		require.NoError(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return string(body)
	}
	assert.Contains(t, get("/"), "<a href=metrics>")
	first := get("/metrics")
	missing := strings.Contains(first, `keepalive_exporter_missing{part="losses",reason="`) // a right, or type information
	assert.NotEqual(t, missing, strings.Contains(first, "keepalive_losses_missed_total 0\n"))
	if !missing {
		assertCountsLoss(t, func() string { return get("/metrics") })
	}
	stop()
	assert.NoError(t, <-ended)
}

// assertCountsLoss loses peers until one is counted.
func assertCountsLoss(t *testing.T, metrics func() string) {
	t.Helper()
	counted := regexp.MustCompile(`(?m)^keepalive_losses_total\{cause="keepalive",command="exporter.test",unit="[^"]*"\} [1-9]`)
	tcptest.Await(t, "a counted loss", func() bool {
		conn, peer := tcptest.DialPair(t, keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1})
		tcptest.Silence(t, conn, peer)
		assert.True(t, keepalive.IsPeerLost(tcptest.Read(conn)))
		conn.Close()
		return counted.MatchString(metrics())
	})
}

// The metrics report the processor time of scrapes of 100,000 connections of other
// processes.
func BenchmarkScrape(b *testing.B) {
	netlab.NewNamespace(b)
	const processes, each = 6, 8334 // as a limit of 20,000 open files asks for
	crowd := filepath.Join(b.TempDir(), "crowd")
	out, err := exec.Command("go", "build", "-o", crowd, "../../testdata/crowd").CombinedOutput()
	require.NoError(b, err, "%s", out)
	for range processes {
		cmd := exec.Command(crowd, strconv.Itoa(each))
		stdin, err := cmd.StdinPipe()
		require.NoError(b, err)
		stdout, err := cmd.StdoutPipe()
		require.NoError(b, err)
		require.NoError(b, cmd.Start())
		b.Cleanup(func() {
			stdin.Close()
			cmd.Wait()
		})
		ready := make([]byte, 5)
		_, err = io.ReadFull(stdout, ready)
		require.NoError(b, err)
		require.Equal(b, "ready", string(ready))
	}
	h := handler(newCollector(Options{}))
	var began, ended unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &began))
	for b.Loop() {
		body := scrapeOf(b, h)
		require.Regexp(b, `command="crowd",policy="[^"]*",unit="[^"]*"\} 100008`, body)
	}
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &ended))
	used := time.Duration(ended.Utime.Nano() + ended.Stime.Nano() - began.Utime.Nano() - began.Stime.Nano())
	b.ReportMetric(used.Seconds()/float64(b.N), "processor-s/op")
	const most = time.Second // twice what docs/metrics.md says, as other programs may run
	if b.N >= 4 && used/time.Duration(b.N) > most {
		b.Errorf("a scrape takes %v of a processor, want at most %v", used/time.Duration(b.N), most)
	}
}
