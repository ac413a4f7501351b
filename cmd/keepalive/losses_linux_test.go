package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
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

// startLosses runs losses until the test ends, and skips the test where it may not.
func startLosses(t testing.TB, args ...string) (cmd *exec.Cmd, out *output) {
	t.Helper()
	watch, err := sockets.WatchLosses(4096, false)
	if err != nil {
		netlab.Skip(t, err)
	}
	require.NoError(t, watch.Close())
	cmd = command(t, append([]string{"losses"}, args...)...)
	out = start(t, cmd)
	out.await(t, "Reporting losses from now on")
	return cmd, out
}

// loseUntil loses peers until the command has printed what matches: some kernels hide
// an event now and then.
func loseUntil(t testing.TB, out *output, pattern string) (lines []string) {
	t.Helper()
	expr := regexp.MustCompile("(?m)^" + pattern + "$")
	for range 5 {
		conn, peer := tcptest.DialPair(t, keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1})
		tcptest.Silence(t, conn, peer)
		assert.True(t, keepalive.IsPeerLost(tcptest.Read(conn)))
		conn.Close()
		for range 100 {
			if lines = expr.FindAllString(out.String(), -1); lines != nil {
				return lines
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Fatalf("no %s in %v", pattern, out)
	return nil
}

func TestLosses(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	namespace := fmt.Sprint(namespaceOf(t))
	text, textOut := startLosses(t, "--netns", namespace)
	_, jsonOut := startLosses(t, "--json", "--netns", namespace, "--command", "keepalive.test")
	_, none := startLosses(t, "--netns", namespace, "--pid", "1")

	loseUntil(t, textOut, `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} keepalive\.test\[`+fmt.Sprint(os.Getpid())+`\]( \(\S+\))? 127\.0\.0\.1:\d+ to 127\.0\.0\.1:\d+: `+
		`lost by keepalive after \d\S* of silence, idle, 1 unanswered probe; ETIMEDOUT; idle=1s,interval=1s,count=1; network namespace `+namespace)
	var l struct {
		Time                     time.Time
		End, Cause, Phase, Errno string
		Processes                []struct {
			PID     int
			Command string
			FD      *int
		}
		Cgroup, Unit        *string
		State               string
		Local, Remote       netip.AddrPort
		NetNS               uint64
		KeepAlive           bool
		Idle, Interval      seconds
		Count               int
		UserTimeout         seconds `json:"user_timeout"`
		MaxRTO              seconds `json:"max_rto"`
		UnnoticedIdle       seconds `json:"unnoticed_idle"`
		UnnoticedInFlight   seconds `json:"unnoticed_in_flight"`
		Heard               seconds
		Probes, Retransmits int
		UnackedBytes        int `json:"unacked_bytes"`
		UnsentBytes         int `json:"unsent_bytes"`
		RTT                 seconds
	}
	// A child that another test forks may hold a connection too, or close it last.
	line := loseUntil(t, jsonOut, fmt.Sprintf(`\{.*"processes":\[\{"pid":%d,.*\}`, os.Getpid()))[0]
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&l), line)
	assert.WithinDuration(t, time.Now(), l.Time, time.Minute)
	assert.Equal(t, []string{"lost", "keepalive", "idle", "ETIMEDOUT", "established"}, []string{l.End, l.Cause, l.Phase, l.Errno, l.State})
	assert.Equal(t, namespace, fmt.Sprint(l.NetNS))
	assert.Equal(t, []any{true, seconds(1), seconds(1), 1, seconds(2), 1, 0, 0}, []any{l.KeepAlive, l.Idle, l.Interval, l.Count, l.UnnoticedIdle, l.Probes, l.UnackedBytes, l.UnsentBytes})
	assert.Greater(t, l.Heard, seconds(1.9))
	for _, name := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(line, -1) {
		if !strings.Contains("pid command fd", name[1]) {
			assert.Regexp(t, `\b`+name[1]+`\b`, lossFields()+fields(), "documented")
		}
	}
	assert.NotContains(t, none.String(), "lost", "--pid selects")

	require.NoError(t, text.Process.Signal(os.Interrupt))
	assert.NoError(t, text.Wait(), "an interrupt is the usual end")
}

// --resets reports what is no loss as what it is.
func TestLossesResets(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, out := startLosses(t, "--resets", "--netns", fmt.Sprint(namespaceOf(t)))
	conn, peer := tcptest.DialPair(t, keepalive.Config{})
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	assert.ErrorIs(t, tcptest.Read(conn), unix.ECONNRESET)
	out.await(t, `: reset after \S+ of silence, idle, 0 unanswered probes; ECONNRESET; `)
	_, err := net.Dial("tcp4", tcptest.Refused)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	out.await(t, `: connect-failed; ECONNREFUSED; `)
}

// What is missing is named.
func TestLossesErrors(t *testing.T) {
	t.Parallel()
	r := asNobody(t, "losses")
	assert.Equal(t, exitProblem, r.code)
	assert.Equal(t, "keepalive: losses can't be seen: it takes CAP_BPF and CAP_PERFMON, which root has, and this process lacks CAP_BPF and CAP_PERFMON (operation not permitted)\n", r.stderr)
	r = runCommand(t, "losses", "--unit", "nonesuch")
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stderr, "unit nonesuch")
	r = runCommand(t, "losses", "--suspect")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "there is no flag --suspect")
}

// Without rights the exporter serves what there is, and says what is missing.
func TestExporterWithoutRights(t *testing.T) {
	t.Parallel()
	cmd := commandOfNobody(t, "exporter", "--listen", "127.0.0.1:0")
	out := start(t, cmd)
	out.await(t, "losses can't be counted: it takes CAP_BPF and CAP_PERFMON")
	address := regexp.MustCompile(`http://\S+`).FindString(out.String())
	answer, err := http.Get(address)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	for _, part := range []string{"losses", "ebpf"} {
		assert.Regexp(t, `(?m)^keepalive_exporter_missing\{part="`+part+`",reason="it takes CAP_BPF and CAP_PERFMON, .*"\} 1$`, string(body))
	}
	assert.Regexp(t, `(?m)^keepalive_exporter_refused_processes [1-9]`, string(body))
	assert.NotContains(t, string(body), "keepalive_losses")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, cmd.Wait())
}

func TestExporterErrors(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--listen nonsense":    "--listen nonsense: listen tcp: address nonsense: missing port in address",
		"--programs 0":         "--programs is 0 and --policies is 20, want numbers above zero",
		"--listen 192.0.2.1:1": "--listen 192.0.2.1:1: listen tcp 192.0.2.1:1: bind: cannot assign requested address",
	} {
		r := runCommand(t, append([]string{"exporter"}, strings.Fields(args)...)...)
		assert.NotEqual(t, exitDone, r.code)
		assert.Contains(t, r.stderr, "keepalive: "+want, args)
	}
}
