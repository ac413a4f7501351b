package plan_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scene is where a program's peer falls silent: the firewall between them forgets
// their connections and drops what belongs to none.
type scene struct {
	*netlab.Lab
	demand  demand
	plan    plan
	cluster cluster
	crate   crate
}

// end is one end of a connection, whose program has to give it up.
type end struct {
	row  string
	host *netlab.Host
	port int    // of either end
	by   string // what bounds data in flight
	send func() // puts data in flight
}

type result struct {
	took time.Duration // since the data was seen in flight, or the peer fell silent
	most time.Duration // since it was about to be sent
	by   string
}

// What bounds the time with data in flight.
const (
	byTimeout   = "its user timeout"
	byRetries   = "`tcp_retries2`"
	byQuestions = "its own questions"
)

// measure makes the peers fall silent and waits until the programs have given
// them up.
func (s *scene) measure(t *testing.T, ends []end) map[string]result {
	t.Helper()
	found := make([]*socket, len(ends))
	for i, e := range ends {
		if e.by != byQuestions && s.demand.unacked {
			s.setRetries(t, e.host) // where a user timeout is, that counts
		}
		found[i] = newSocket(t, e)
		await(t, "nothing is in flight of "+e.row, func() bool { return found[i].state(t) == inFlight(0) })
	}
	silent := time.Now()
	s.Forget(t)
	before, since := make([]time.Time, len(ends)), make([]time.Time, len(ends))
	for i, e := range ends {
		before[i], since[i] = silent, silent
		if s.demand.unacked { // send may start a program, and wait until that has ended
			before[i] = time.Now()
			e.send()
			await(t, "data is in flight of "+e.row, func() bool { return found[i].state(t) > inFlight(0) })
			since[i] = time.Now()
		}
	}
	results := make(map[string]result)
	await(t, "the programs give up", func() bool {
		for i, e := range ends {
			if _, over := results[e.row]; !over && found[i].state(t) == closed {
				results[e.row] = result{time.Since(since[i]), time.Since(before[i]), e.by}
			}
		}
		return len(results) == len(ends) || time.Since(silent) > s.demand.latest()+10*time.Second
	})
	for _, e := range ends {
		r, over := results[e.row]
		require.True(t, over, "%s is open after %v", e.row, time.Since(silent))
		assert.LessOrEqual(t, r.took, s.demand.latest(), e.row)
		assert.GreaterOrEqual(t, r.most, s.demand.earliest(e.by), e.row)
		t.Logf("%s: %.2f s", e.row, r.took.Seconds())
	}
	return results
}

// setRetries sets what plan prints for programs without a user timeout.
func (s *scene) setRetries(t *testing.T, host *netlab.Host) {
	t.Helper()
	for _, line := range s.plan.settings(t, "sysctl.d") {
		if name, value, _ := strings.Cut(line, " = "); name == "net.ipv4.tcp_retries2" {
			host.Sysctl(t, name, value)
			return
		}
	}
	t.Fatal("plan prints no tcp_retries2")
}

func await(t *testing.T, what string, isTrue func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(3 * time.Minute); !isTrue(); time.Sleep(50 * time.Millisecond) {
		require.True(t, time.Now().Before(giveUp), what)
	}
}

// process is a program that runs on a host until the test ends.
type process struct {
	*exec.Cmd
	stdin  io.Writer
	output proctest.Buffer
}

// run starts a program.
func run(t *testing.T, host *netlab.Host, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	p.stdin = stdin
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.WaitDelay = 10 * time.Second
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true // servers fork
	if err := host.Start(cmd); err != nil {
		netlab.Skip(t, err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		stdin.Close()
		cmd.Wait()
	})
	return p
}

// await waits until the program has printed something.
func (p *process) await(t *testing.T, pattern string) {
	t.Helper()
	expr := regexp.MustCompile(pattern)
	for giveUp := time.Now().Add(3 * time.Minute); !expr.MatchString(p.output.String()); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(giveUp), "%v: no %q in %v", p.Args, pattern, &p.output)
	}
}

// say writes a line to the program.
func (p *process) say(t *testing.T, line string) {
	t.Helper()
	_, err := fmt.Fprintln(p.stdin, line)
	require.NoError(t, err)
}

// dial connects from a host as soon as somebody listens.
func dial(t *testing.T, from *netlab.Host, ip string, port int) (conn net.Conn) {
	t.Helper()
	dialer := &net.Dialer{Timeout: time.Second, KeepAlive: -1}
	await(t, fmt.Sprintf("somebody listens on %s:%d", ip, port), func() bool {
		var err error
		conn, err = from.Within(dialer.DialContext)(context.Background(), "tcp4", net.JoinHostPort(ip, strconv.Itoa(port)))
		return err == nil
	})
	t.Cleanup(func() {
		conn.(*net.TCPConn).SetLinger(0) // nobody waits for a silenced peer
		conn.Close()
	})
	return conn
}

// listen listens on a port of a host, and returns a function that accepts one
// connection and reads from it until a text has come.
func listen(t *testing.T, host *netlab.Host, port int) (accept func(until string) net.Conn) {
	t.Helper()
	lc := &net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	ln := host.Listen(t, lc, "tcp4", port)
	return func(until string) net.Conn {
		require.NoError(t, ln.(*net.TCPListener).SetDeadline(time.Now().Add(3*time.Minute)))
		conn, err := ln.Accept()
		require.NoError(t, err)
		t.Cleanup(func() {
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		})
		readUntil(t, conn, until)
		return conn
	}
}

func readUntil(t *testing.T, conn net.Conn, until string) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(3*time.Minute)))
	var text []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(text), until); text = append(text, b...) {
		_, err := io.ReadFull(conn, b)
		require.NoError(t, err, "%q", text)
	}
}

func write(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	require.NoError(t, err)
}
