package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/proctest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal is what a command shows on a terminal.
type terminal struct {
	*os.File // the command's end
	shown    func() string
}

func newTerminal(t testing.TB, width, height uint16) *terminal {
	t.Helper()
	master, slave := proctest.OpenTerminal(t)
	require.NoError(t, unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}))
	out := new(output)
	var reader sync.WaitGroup
	reader.Go(func() { io.Copy(out, master) }) // until the other end is closed everywhere
	t.Cleanup(func() {
		slave.Close()
		reader.Wait()
		master.Close()
	})
	return &terminal{slave, func() string { return strings.ReplaceAll(out.String(), "\r\n", "\n") }}
}

// show returns what the command shows on a terminal.
func show(t testing.TB, width, height uint16, environment string, args ...string) string {
	t.Helper()
	return showOf(t, width, height, environment, command(t, args...))
}

func showOf(t testing.TB, width, height uint16, environment string, cmd *exec.Cmd) string {
	t.Helper()
	term := newTerminal(t, width, height)
	cmd.Env = append(os.Environ(), "TERM=xterm", environment)
	cmd.Stdout, cmd.Stderr = term.File, term.File
	require.NoError(t, cmd.Run())
	// A line of its own tells that all before it has arrived.
	fmt.Fprintln(term, "\x00")
	awaitThat(t, func() bool { return strings.HasSuffix(term.shown(), "\x00\n") }, "%v", cmd)
	return strings.TrimSuffix(term.shown(), "\x00\n")
}

func TestLsFitsTheTerminal(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t, "--bind", "127.0.0.1", "::1")
	for range 3 {
		ask(t, dial(t, "127.0.0.1:6379"))
		ask(t, dial(t, "[::1]:6379"))
	}
	for _, width := range []uint16{20, 40, 60, 79, 80, 100, 120, 150, 200} {
		shown := show(t, width, 30, "", "ls", "--pid", pid(server))
		lines := strings.Split(strings.TrimSuffix(shown, "\n"), "\n")
		require.Len(t, lines, 1+2+6, "%d", width)
		for _, line := range lines {
			assert.LessOrEqual(t, text.StringWidthWithoutEscSequences(line), int(width), line)
		}
		assert.Contains(t, shown, "\x1b[1mPROCESS\x1b[0m")
		if width >= 40 {
			assert.Contains(t, shown, "UNNOTICED", "%d", width)
			assert.Contains(t, text.StripEscape(shown), " 10m", "%d", width)
		}
		if width >= 80 {
			assert.Regexp(t, fmt.Sprintf(`redis-s\S*\[%s\]`, pid(server)), shown, "its id is not cut")
			for _, column := range []string{"UNNOTICED", "IN FLIGHT", "HEARD"} {
				assert.Contains(t, shown, column, "%d", width)
			}
			assert.Contains(t, text.StripEscape(shown), "10m", "%d", width)
		}
		if width == 200 {
			for _, column := range []string{"LOCAL", "REMOTE", "IDLE", "INTERVAL", "COUNT", "USER TIMEOUT", "MAX RTO", "PROBES", "RETRANS"} {
				assert.Contains(t, shown, column)
			}
		}
	}
}

// Each width shows the whole policy.
func TestLsShowsTheWholePolicy(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	chosen := []string{"--pid", pid(server), "--remote", conn.LocalAddr().String()}
	for policy, want := range map[string]string{
		"idle=1m,interval=5s,count=3,max_rto=2m":                     `1m/5s/3 `,
		"idle=1m,interval=5s,count=3,user_timeout=1m15s,max_rto=2s":  `1m/5s/3 ut=1m15s rto=2s `,
		"off,idle=1m,interval=5s,count=3,user_timeout=9s,max_rto=2s": `off ut=9s rto=2s `,
	} {
		require.Equal(t, exitDone, runCommand(t, append([]string{"set", policy}, chosen...)...).code)
		for _, width := range []uint16{80, 100, 120} {
			shown := show(t, width, 30, "NO_COLOR=1", append([]string{"ls"}, chosen...)...)
			assert.Contains(t, shown, want, "%d", width)
			assert.Contains(t, shown, "HEARD")
			assert.NotContains(t, shown, "KEEPALIVE", "another layout")
		}
		require.Equal(t, exitDone, runCommand(t, append([]string{"set", "user_timeout=0,max_rto=0"}, chosen...)...).code)
	}
}

func TestColors(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	ask(t, dial(t, "127.0.0.1:6379"))
	args := []string{"ls", "--pid", pid(server)}
	assert.Contains(t, show(t, 200, 30, "", args...), "\x1b[")
	assert.Contains(t, show(t, 200, 30, "NO_COLOR=", args...), "\x1b[")
	assert.NotContains(t, show(t, 200, 30, "NO_COLOR=1", args...), "\x1b[")
	assert.NotContains(t, show(t, 200, 30, "TERM=dumb", args...), "\x1b[")
	assert.NotContains(t, runCommand(t, args...).stdout, "\x1b[")
}

// Suspects come first, then those that hang for ever.
func TestLsSorts(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	silent, off, fine := dial(t, "127.0.0.1:6379"), dial(t, "127.0.0.1:6379"), dial(t, "127.0.0.1:6379")
	ask(t, silent)
	ask(t, off)
	ask(t, fine)
	set := func(remote, policy string) {
		r := runCommand(t, "set", "--pid", pid(server), "--remote", remote, policy)
		require.Equal(t, exitDone, r.code, r.stderr)
	}
	set(off.LocalAddr().String(), "off")
	set(silent.LocalAddr().String(), "idle=1s,interval=1s,count=100")
	netlab.MustSilence(t, silent)
	awaitThat(t, func() bool { return len(list(t, "--suspect", "--pid", pid(server))) == 1 }, "no suspect")
	lines := strings.Split(runCommand(t, "ls", "--pid", pid(server)).stdout, "\n")
	require.Len(t, lines, 6)
	assert.Contains(t, lines[0], "PROCESS")
	assert.Contains(t, lines[1], silent.LocalAddr().String())
	assert.Contains(t, lines[2], off.LocalAddr().String())
	assert.Contains(t, lines[2], " never ")
	assert.Contains(t, lines[3], fine.LocalAddr().String())
	assert.Contains(t, lines[4], "listen")

	shown := show(t, 80, 30, "", "ls", "--pid", pid(server), "--suspect")
	assert.Regexp(t, `\x1b\[31;1m\d+s\x1b\[0m`, shown, "an alarm")
}

// --watch redraws in place and ends in good order.
func TestLsWatch(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	for range 10 {
		ask(t, dial(t, "127.0.0.1:6379"))
	}
	term := newTerminal(t, 80, 6)
	cmd := command(t, "ls", "--pid", pid(server), "--watch", "10ms")
	cmd.Stdout, cmd.Stderr = term.File, term.File
	require.NoError(t, cmd.Start())
	awaitThat(t, func() bool { return strings.Count(term.shown(), "\x1b[H") > 3 }, "not redrawn")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	screens := strings.Split(term.shown(), "\x1b[H")
	for _, screen := range screens[1:3] {
		assert.Contains(t, screen, "\n… 8 more\x1b[K\n", "of 11 lines there is room for 3, and a heading")
		assert.Equal(t, 5, strings.Count(screen, "\n"), "a line below stays free for the cursor: %q", screen)
		assert.True(t, strings.HasSuffix(screen, "\x1b[J"))
	}

	var out bytes.Buffer
	cmd = command(t, "ls", "--pid", pid(server), "--watch", "10ms", "--hang=1s")
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	buf := make([]byte, 1<<16)
	for !strings.Contains(out.String(), "\n\nPROCESS") {
		n, err := pipe.Read(buf)
		require.NoError(t, err)
		out.Write(buf[:n])
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	go io.Copy(io.Discard, pipe)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, exitProblem, exit.ExitCode(), "some hang")
	assert.NotContains(t, out.String(), "\x1b")
}

// What could not be looked into is said in whole, however long the table is.
func TestLsClosesTheTable(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, credential := dirOf(t, "nobody")
	server := exec.Command(program(t, "goserver"), "127.0.0.1:7000")
	server.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out := start(t, server)
	out.await(t, "listening")
	const width, height = 40, 30
	for range height {
		dial(t, "127.0.0.1:7000")
	}
	closing := regexp.MustCompile(`\n\d+ processes could not be looked into(.|\n)*so\s+it\s+takes\s+CAP_SYS_PTRACE,\s+which\s+root\s+has(.|\n)*\n$`)
	assertClosed := func(shown string) {
		t.Helper()
		assert.Regexp(t, closing, shown)
		for line := range strings.Lines(shown) {
			assert.LessOrEqual(t, text.StringWidthWithoutEscSequences(strings.TrimSuffix(line, "\n")), width, line)
		}
	}
	assertClosed(showOf(t, width, height, "NO_COLOR=1", commandOfNobody(t, "ls")))

	term := newTerminal(t, width, height)
	cmd := commandOfNobody(t, "ls", "--watch", "10ms")
	cmd.Stdout, cmd.Stderr = term.File, term.File
	require.NoError(t, cmd.Start())
	awaitThat(t, func() bool { return strings.Count(term.shown(), "\x1b[H") > 2 }, "not redrawn")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	screen := strings.ReplaceAll(strings.Split(term.shown(), "\x1b[H")[2], "\x1b[K", "")
	assert.Equal(t, height-1, strings.Count(screen, "\n"), "%q", screen)
	assertClosed(strings.TrimSuffix(screen, "\x1b[J"))
}

// set says on several lines what is too long for one.
func TestSetFitsTheTerminal(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	args := []string{"set", "--pid", pid(server), "--remote", conn.LocalAddr().String(), "--dry-run", "idle=1m"}
	name := fmt.Sprintf("redis-server[%s] 127.0.0.1:6379 → %s\n", pid(server), conn.LocalAddr())
	assert.Equal(t, name+"    idle=5m0s,interval=1m40s,count=3\n  → idle=1m0s,interval=1m40s,count=3\n1 socket: 1 to be set. Nothing was set (--dry-run).\n",
		show(t, 60, 30, "NO_COLOR=1", args...))
	assert.Equal(t, name+"    idle=5m0s,interval=1m40s,count=3 → idle=1m0s,interval=1m40s,count=3\n1 socket: 1 to be set. Nothing was set (--dry-run).\n",
		show(t, 80, 30, "NO_COLOR=1", args...))
}
