package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newPath returns a lab with a firewall that forgets after a time, and the
// address of a server beyond it that does not probe by itself.
func newPath(t testing.TB, forgets time.Duration) (lab *netlab.Lab, address string) {
	t.Helper()
	lab = netlab.NewLab(t, netlab.Rules{Established: forgets})
	server := exec.Command(netlab.LookPath(t, "redis-server"), "--bind", lab.Server.IPv4, "--port", "6379", "--save", "",
		"--protected-mode", "no", "--tcp-keepalive", "0")
	server.Dir = t.TempDir()
	require.NoError(t, lab.Server.Start(server))
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	address = lab.Server.Address("tcp", 6379)
	awaitThat(t, func() bool {
		conn, err := lab.Client.Within(new(net.Dialer).DialContext)(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "nobody listens on %s", address)
	return lab, address
}

func TestProbe(t *testing.T) {
	t.Parallel()
	const forgets = 4 * time.Second
	lab, address := newPath(t, forgets)
	var plain, asJSON result
	var shown string
	done := make(chan struct{}, 3)
	run := func(f func()) {
		go func() {
			lab.Client.Do(f)
			done <- struct{}{}
		}()
	}
	run(func() { plain = runCommand(t, "probe", "--max", "1m", "--precision", "1s", address) })
	run(func() { asJSON = runCommand(t, "probe", "--max", "1m", "--precision", "1s", "--json", address) })
	run(func() { shown = show(t, 80, 40, "", "probe", "--max", "1m", "--precision", "1s", address) })
	for range 3 {
		<-done
	}

	require.Equal(t, exitDone, asJSON.code, asJSON.stderr)
	assert.Regexp(t, `^Connecting to .*\.\nMeasuring the path to .*\.\nThis takes mostly 2\.2 to 3\.8 times what it finds, and 1m\d+s if that is nothing\.\n$`, asJSON.stderr)
	var m measured
	require.NoError(t, json.Unmarshal([]byte(asJSON.stdout), &m))
	assert.Equal(t, address, m.Remote)
	assert.Equal(t, pathidle.Found, m.Verdict)
	const slack = 0.1
	survived, lost := float64(value(t, m.Survived)), float64(value(t, m.Lost))
	assert.Less(t, survived, forgets.Seconds()+slack)
	assert.Greater(t, lost, forgets.Seconds()-slack)
	assert.LessOrEqual(t, lost-survived, 1.0)
	assert.NotEmpty(t, m.Samples)
	want, err := keepalive.Plan(keepalive.Target{IdleLimit: time.Duration(survived * float64(time.Second))})
	require.NoError(t, err)
	assert.Equal(t, want, value(t, m.Policy))

	require.Equal(t, exitDone, plain.code, plain.stderr)
	lines := strings.Split(plain.stdout, "\n")
	assert.Equal(t, []string{"Connecting to " + address + ".", "Measuring the path to " + address + "."}, lines[:2])
	assert.Regexp(t, `^This takes mostly 2\.2 to 3\.8 times what it finds, and 1m\d+s if that is nothing\.$`, lines[2])
	assert.Regexp(t, `^idle for .*s: answered after .*s; kept for .*s, nothing lost yet$`, lines[3])
	assert.Regexp(t, `\nidle for .*; kept for .*, lost after .*\n`, plain.stdout)
	assert.Regexp(t, `\nThe path forgets a connection that is idle for .*s to .*s\.\nPolicy that keeps it: idle=.*,interval=1s,count=3\n$`, plain.stdout)
	assert.NotContains(t, plain.stdout, "\x1b")

	assert.Contains(t, shown, "\x1b[10A", "redrawn in place: 8 connections and 2 lines")
	assert.Contains(t, shown, "━")
	assert.Contains(t, shown, "The path forgets a connection that is idle for ")
	for line := range strings.Lines(shown) {
		assert.LessOrEqual(t, text.StringWidthWithoutEscSequences(strings.TrimRight(line, "\n")), 80, line)
	}
}

// Ctrl-C prints what is known.
func TestProbeInterrupted(t *testing.T) {
	t.Parallel()
	lab, address := newPath(t, 0)
	cmd := command(t, "probe", "--max", "10h", address)
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	lab.Client.Do(func() { require.NoError(t, cmd.Start()) })
	out.await(t, "(idle for .*: answered(.|\n)*){2}")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	err := cmd.Wait()
	require.Error(t, err)
	assert.Equal(t, exitProblem, cmd.ProcessState.ExitCode())
	assert.Regexp(t, `\nThe path remembers for longer than .*s\.\n(Policy that keeps it|No policy keeps it): .*\n$`, out)
}

func TestProbeRefused(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	r := runCommand(t, "probe", "127.0.0.1:1")
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stderr, syscall.ECONNREFUSED.Error())
	for args, want := range map[string]string{
		"probe":                                "HOST:PORT is missing, want: keepalive probe [FLAG...] HOST:PORT",
		"probe 127.0.0.1":                      "address 127.0.0.1: missing port in address, want HOST:PORT such as primary.example:5432",
		"probe --json 127.0.0.1":               "address 127.0.0.1: missing port in address, want HOST:PORT",
		"probe 127.0.0.1:":                     "address 127.0.0.1:: missing host or port, want HOST:PORT",
		"probe :80":                            "address :80: missing host or port, want HOST:PORT",
		"probe 127.0.0.1:65536":                "address 65536: invalid port, want HOST:PORT",
		"probe ::1:80":                         "address ::1:80: too many colons in address, want HOST:PORT",
		"probe --max 1ms 127.0.0.1:1":          "--max is 1ms, want 1s to 720h0m0s",
		"probe --precision 1ms 127.0.0.1:1":    "--precision is 1ms, want 1s to 720h0m0s",
		"probe --connections -1 127.0.0.1:1":   "--connections is -1, want 1 to 1000",
		"probe --max 1ms --json 127.0.0.1:1":   "--max is 1ms, want 1s to 720h0m0s",
		"probe --max forever 127.0.0.1:1":      `--max is "forever", want a duration such as 10m`,
		"probe --nonsense 127.0.0.1:1 --json ": "there is no flag --nonsense",
	} {
		r := runCommand(t, strings.Fields(args)...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.Contains(t, r.stderr, want)
		assert.NotContains(t, r.stdout+r.stderr, "Measuring", args)
	}
}

// Until a connection is open there is nothing to draw, and nothing to estimate: an
// address that does not answer may take any time.
func TestProbeWhileItConnects(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		var out strings.Builder
		l := &progressView{out: term.Output{Writer: &out, Terminal: terminal, Width: 80, Height: 24}, begin: "It takes 5s.\n"}
		p := pathidle.Progress{Conns: []pathidle.Conn{{State: pathidle.StateClosed}, {State: pathidle.StateClosed}}}
		l.update(p)
		l.draw()
		p.Conns[0].State = pathidle.StateConnecting
		l.update(p)
		l.draw()
		assert.Empty(t, out.String())
		p.Conns[0].State = pathidle.StateIdle
		l.update(p)
		l.update(p)
		assert.True(t, strings.HasPrefix(out.String(), "It takes 5s.\n"), out.String())
		assert.Equal(t, 1, strings.Count(out.String(), "It takes"))
		assert.Equal(t, terminal, strings.Contains(out.String(), "idle"))
	}
}

// A path that no policy keeps is told from a flag that probe does not have.
func TestProbeOfAShortPath(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := probeCommand{out: term.Output{Writer: &out}}
	p.printAnswer(pathidle.Result{Verdict: pathidle.Found, Survived: 2 * time.Second, Lost: 3 * time.Second})
	assert.Equal(t, "The path forgets a connection that is idle for 2s to 3s.\n"+
		"No policy keeps it: it remembers for 2s, want more than 2.25s.\n", out.String())
}

func TestSearchLines(t *testing.T) {
	t.Parallel()
	const s = time.Second
	p := pathidle.Progress{Elapsed: 10 * s, Left: 20 * s, LeftMost: 30 * s, Survived: 10 * s, Lost: 20 * s, Conns: []pathidle.Conn{
		{State: pathidle.StateIdle, Since: 5 * s, Until: 20 * s},
		{State: pathidle.StateDoubtful, Since: 0},
		{State: pathidle.StateConnecting},
		{State: pathidle.StateClosed},
	}}
	assert.Equal(t, []string{
		"  1 idle             10s  ━━━━━━━━━━────?",
		"  2 doubtful         15s  ━━━━━━━━━━━━━━━",
		"  3 connecting            ",
		"  4 not open              ",
		"    known                 ━━━━━━━━━━         ✕",
		"kept for 10s, lost after 20s; 15s left, 25s at most",
	}, searchLines(p, 5*s, term.Output{Width: 48}))
	assert.Len(t, searchLines(pathidle.Progress{}, 0, term.Output{Width: 1}), 2, "no room, nothing known")
}
