package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Redis has 300 s, 100 s and 3 on what it accepts. The policy that is set counts
// instead: it is read back, ss sees the timer follow, and a peer that falls
// silent is noticed within it.
func TestSetOnRedis(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	chosen := []string{"--pid", pid(server), "--remote", conn.LocalAddr().String()}
	before := list(t, chosen...)
	require.Len(t, before, 1)
	assert.Equal(t, 300.0, float64(before[0].Idle))
	assert.Regexp(t, `timer:\(keepalive,[45]min`, ss(t, conn))

	r := runCommand(t, append([]string{"set", "idle=200s,count=2"}, chosen...)...)
	require.Equal(t, exitDone, r.code, r.stderr)
	assert.Equal(t, "1 socket: 1 set\n", r.stderr)
	assert.Contains(t, r.stdout, fmt.Sprintf("redis-server[%s] 127.0.0.1:6379 → %s: ", pid(server), conn.LocalAddr()))
	assert.Contains(t, r.stdout, "idle=5m0s,interval=1m40s,count=3")
	assert.Contains(t, r.stdout, " → idle=3m20s,interval=1m40s,count=2", "what the policy leaves out stays")
	assert.Regexp(t, `timer:\(keepalive,[123]min`, ss(t, conn))
	after := list(t, chosen...)
	require.Len(t, after, 1)
	assert.Equal(t, "200 100 2", fmt.Sprint(after[0].Idle, after[0].Interval, after[0].Count))
	assert.Equal(t, 400.0, float64(value(t, after[0].UnnoticedIdle)))

	ask(t, conn)
	r = runCommand(t, append([]string{"set", "idle=1s,interval=1s,count=3"}, chosen...)...)
	require.Equal(t, exitDone, r.code, r.stderr)
	ask(t, conn)
	heard := time.Now()
	netlab.MustSilence(t, conn)
	for len(list(t, chosen...)) > 0 {
		require.Less(t, time.Since(heard), time.Minute, "the peer is not given up")
	}
	noticed := time.Since(heard)
	assert.Greater(t, noticed, 3900*time.Millisecond, "1 s and three probes a second apart")
	t.Logf("given up %v after it was heard", noticed)
}

// ask has the server answer, so that nothing is in flight.
func ask(t testing.TB, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err := conn.Write([]byte("PING\r\n"))
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "+PONG\r\n", line)
}

// ss returns what ss shows of the other end of a connection.
func ss(t testing.TB, conn net.Conn) string {
	t.Helper()
	out, err := exec.Command(netlab.LookPath(t, "ss"), "-tnpoH", "src", conn.RemoteAddr().String(), "dst", conn.LocalAddr().String()).Output()
	require.NoError(t, err)
	return string(out)
}

// A static Go program can't be reached by LD_PRELOAD. It says itself that its
// peer is lost.
func TestSetOnStaticGo(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, out := startGo(t, "127.0.0.1:7000")
	conn := dial(t, "127.0.0.1:7000")
	out.await(t, "accepted")
	chosen := []string{"--pid", pid(server), "--remote", conn.LocalAddr().String()}
	assert.Regexp(t, `timer:\(keepalive,`, ss(t, conn))
	r := runCommand(t, append([]string{"set", "idle=1s,interval=1s,count=2,max_rto=5s"}, chosen...)...)
	require.Equal(t, exitDone, r.code, r.stderr)
	assert.Contains(t, r.stdout, "idle=15s,interval=15s,count=9 → idle=1s,interval=1s,count=2,max_rto=5s\n")
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	heard := time.Now()
	netlab.MustSilence(t, conn)
	out.await(t, "ended: .*connection timed out")
	noticed := time.Since(heard)
	assert.Greater(t, noticed, 2900*time.Millisecond, "1 s and two probes a second apart")
	assert.Less(t, noticed, 100*time.Second, "15 s and nine probes 15 s apart take 150 s")
	t.Logf("given up %v after it was heard", noticed)
}

// Nothing of a program's descriptors changes but the policy.
func TestFlagsStay(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	flags := func() string {
		var b strings.Builder
		fds, err := os.ReadDir("/proc/" + pid(server) + "/fdinfo")
		require.NoError(t, err)
		for _, fd := range fds {
			info, err := os.ReadFile("/proc/" + pid(server) + "/fdinfo/" + fd.Name())
			require.NoError(t, err)
			fmt.Fprintln(&b, fd.Name(), regexp.MustCompile(`flags:.*`).FindString(string(info)))
		}
		return b.String()
	}
	before := flags()
	require.Contains(t, before, "4002", "O_NONBLOCK")
	require.Len(t, list(t, "--pid", pid(server)), 2)
	require.Equal(t, exitDone, runCommand(t, "set", "--pid", pid(server), "idle=1m").code)
	assert.Equal(t, before, flags())
	ask(t, conn)
}

func TestSetMerges(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "22")
	netlab.Sysctl(t, "tcp_keepalive_probes", "3")
	netlab.Sysctl(t, "tcp_rto_max_ms", "33000")
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	for _, test := range []struct{ policy, want string }{
		{"idle=10s,interval=20s,count=4,user_timeout=30s,max_rto=40s", "idle=10s,interval=20s,count=4,user_timeout=30s,max_rto=40s"},
		{"count=5", "idle=10s,interval=20s,count=5,user_timeout=30s,max_rto=40s"},
		{"off", "off,idle=10s,interval=20s,count=5,user_timeout=30s,max_rto=40s"},
		{"off,idle=11s", "off,idle=11s,interval=20s,count=5,user_timeout=30s,max_rto=40s"},
		{"interval=0", "idle=11s,interval=22s,count=5,user_timeout=30s,max_rto=40s"},
		{"user_timeout=0", "idle=11s,interval=22s,count=5,max_rto=40s"},
		{"user_timeout=1500us", "idle=11s,interval=22s,count=5,user_timeout=2ms,max_rto=40s"},
		{"max_rto=0", "idle=11s,interval=22s,count=5,user_timeout=2ms,max_rto=33s"},
		{"max_rto=2m", "idle=11s,interval=22s,count=5,user_timeout=2ms"},
		{"default", "idle=1m51s,interval=22s,count=3,max_rto=33s"},
	} {
		args := []string{"set", test.policy, "--pid", pid(server), "--remote", conn.LocalAddr().String()}
		// The command's own namespace has other sysctls.
		r := outside(t, func() result { return runCommand(t, append(args, "--dry-run")...) })
		require.Equal(t, exitDone, r.code, r.stderr)
		assert.Contains(t, r.stderr, "Nothing was set")
		if test.policy != "user_timeout=1500us" { // the kernel has milliseconds
			assert.Contains(t, r.stdout, " → "+test.want+"\n", test.policy)
		}
		r = outside(t, func() result { return runCommand(t, args...) })
		require.Equal(t, exitDone, r.code, r.stderr)
		assert.Contains(t, r.stdout, " → "+test.want+"\n", test.policy)
		r = outside(t, func() result { return runCommand(t, args...) })
		assert.Contains(t, r.stdout, ": unchanged: "+test.want+"\n", test.policy)
	}
	netlab.Sysctl(t, "tcp_keepalive_time", "99")
	l := list(t, "--pid", pid(server), "--remote", conn.LocalAddr().String())
	require.Len(t, l, 1)
	assert.Equal(t, 111.0, float64(l[0].Idle), "it does not follow the sysctl")
}

// outside runs f in the network namespace of the test binary.
func outside[T any](t testing.TB, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() {
		defer close(done)
		done <- f()
	}()
	return <-done
}

// A sysctl that no socket accepts is not written to one.
func TestSetDefaultThatNoSocketAccepts(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	ask(t, dial(t, "127.0.0.1:6379"))
	for sysctl, want := range map[string]string{
		"100000": "Idle is 27h46m40s, want 1s to 9h6m7s",
		"0":      "net.ipv4.tcp_keepalive_time is 0, which no socket accepts",
		"-1":     "Idle is -1s, want 1s to 9h6m7s",
	} {
		netlab.Sysctl(t, "tcp_keepalive_time", sysctl)
		for _, policy := range []string{"default", "idle=0"} {
			for _, flags := range [][]string{{"--dry-run"}, nil} {
				r := runCommand(t, append([]string{"set", "--pid", pid(server), "--remote", "127.0.0.1", policy}, flags...)...)
				assert.Equal(t, exitProblem, r.code)
				assert.Contains(t, r.stdout, "refused: "+want)
			}
		}
	}
}

// A socket that follows such a sysctl can be changed all the same, and goes on
// following it.
func TestSetBesideASysctlThatNoSocketAccepts(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	netlab.LookPath(t, "redis-server")
	for _, sysctl := range []string{"100000", "0", "-1"} {
		t.Run(sysctl, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			server := startRedis(t, "--tcp-keepalive", "0")
			conn := dial(t, "127.0.0.1:6379")
			ask(t, conn)
			netlab.Sysctl(t, "tcp_keepalive_time", sysctl)
			set := func(policy, want string) {
				t.Helper()
				args := []string{"set", "--pid", pid(server), "--remote", conn.LocalAddr().String(), policy}
				for _, flags := range [][]string{{"--dry-run"}, nil} {
					r := runCommand(t, append(args, flags...)...)
					assert.Equal(t, exitDone, r.code, "%s: %s", policy, r.stderr)
					assert.Contains(t, r.stdout, want+"\n", policy)
				}
			}
			idle := map[string]string{"100000": "idle=27h46m40s,", "0": "", "-1": "idle=-1s,"}[sysctl]
			set("count=3", " → "+idle+"interval=1m15s,count=3")
			set("user_timeout=9s", " → "+idle+"interval=1m15s,count=3,user_timeout=9s")
			set("off", " → off,"+idle+"interval=1m15s,count=3,user_timeout=9s")
			set("user_timeout=0", " → "+idle+"interval=1m15s,count=3")
			netlab.Sysctl(t, "tcp_keepalive_time", "111")
			set("count=3", ": unchanged: idle=1m51s,interval=1m15s,count=3")
			set("idle=30s", " → idle=30s,interval=1m15s,count=3")
		})
	}
}

func TestSetOnListeners(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	redis := startRedis(t)
	goServer, out := startGo(t, "127.0.0.1:7000")
	set := func(cmd *exec.Cmd) string {
		r := runCommand(t, "set", "--listen", "--pid", pid(cmd), "idle=50s,interval=5s,count=5")
		require.Equal(t, exitDone, r.code, r.stderr)
		assert.Contains(t, r.stdout, "listen: off,idle=2h0m0s")
		assert.Contains(t, r.stdout, "→ idle=50s,interval=5s,count=5")
		return r.stdout
	}
	held := func(cmd *exec.Cmd, peer net.Conn) string {
		l := list(t, "--pid", pid(cmd), "--remote", peer.LocalAddr().String())
		require.Len(t, l, 1)
		return fmt.Sprint(l[0].Idle, l[0].Interval, l[0].Count)
	}
	ask(t, dial(t, "127.0.0.1:6379"))
	assert.Contains(t, set(redis), "    1 open connection has another policy than the listening socket had: the program may set its own on each.\n")
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	assert.Equal(t, "300 100 3", held(redis, conn), "it does")

	assert.Regexp(t, `The program is Go's \(go1\.\d+.*\): net sets 15 s, 15 s and 9 on each accepted connection`, set(goServer))
	conn = dial(t, "127.0.0.1:7000")
	out.await(t, "accepted")
	assert.Equal(t, "15 15 9", held(goServer, conn), "it does")

	nginx := startNginx(t, "listen 127.0.0.1:8080;")
	r := runCommand(t, "set", "--listen", "--pid", pid(nginx), "--dry-run", "idle=50s")
	assert.Contains(t, r.stdout, "There is no open connection that shows whether the program sets a policy of its own.")
	held8080 := func(conn net.Conn) string {
		l := list(t, "--command", "nginx", "--local", "127.0.0.1:8080", "--remote", conn.LocalAddr().String())
		if len(l) != 1 {
			return "" // not accepted yet
		}
		return fmt.Sprint(l[0].Idle, l[0].Interval, l[0].Count)
	}
	conn = dial(t, "127.0.0.1:8080")
	awaitThat(t, func() bool { return held8080(conn) != "" }, "nginx does not accept")
	assert.Contains(t, set(nginx), "    1 open connection has the policy that the listening socket had.\n")
	after := dial(t, "127.0.0.1:8080")
	awaitThat(t, func() bool { return held8080(after) == "50 5 5" }, "it does not")
}

// Connections that were set together with their listening socket hold what it
// holds, and tell nothing of the program.
func TestSetOnListenersAgain(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, out := startGo(t, "127.0.0.1:7000")
	dial(t, "127.0.0.1:7000")
	out.await(t, "accepted")
	redis := startRedis(t)
	ask(t, dial(t, "127.0.0.1:6379"))
	for cmd, want := range map[*exec.Cmd]string{
		server: "    The program is Go's (",
		redis:  "    1 open connection has the policy that the listening socket had.\n",
	} {
		set := []string{"set", "--pid", pid(cmd), "idle=50s,interval=5s,count=5"}
		require.Equal(t, exitDone, runCommand(t, set...).code)
		r := runCommand(t, set...)
		require.Equal(t, exitDone, r.code, r.stderr)
		assert.Contains(t, r.stdout, want)
	}
}

// Who passes a listening socket on does not serve it.
func TestSetOnListenerOfTwo(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	first := exec.Command("sleep", "1000") // has the lower id
	first.ExtraFiles = []*os.File{file}
	start(t, first)
	second := exec.Command(program(t, "goserver"), "127.0.0.1:0")
	second.ExtraFiles = []*os.File{file}
	start(t, second).await(t, "listening")
	r := runCommand(t, "set", "--pid", pid(first), "--dry-run", "off")
	assert.Contains(t, r.stdout, "The program is Go's (")
}

// A program says which Go built it, but not what it does to the terminal.
func TestSetPrintsTheVersionOfGo(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	binary, err := os.ReadFile(program(t, "goserver"))
	require.NoError(t, err)
	const header = 32 // of debug/buildinfo, then the length of the version
	i := bytes.Index(binary, []byte("\xff Go buildinf:")) + header + 1
	require.Equal(t, "go1.", string(binary[i:i+4]))
	copy(binary[i:], "\x1b[1m")
	path := filepath.Join(t.TempDir(), "server")
	// A child that another test forks meanwhile would hold the file open for
	// writing if this process wrote it: ETXTBSY.
	write := exec.Command("sh", "-c", `cat >"$0" && chmod +x "$0"`, path)
	write.Stdin = bytes.NewReader(binary)
	require.NoError(t, write.Run())
	server := exec.Command(path, "127.0.0.1:7000")
	start(t, server).await(t, "listening")
	r := runCommand(t, "set", "--pid", pid(server), "--dry-run", "off")
	assert.Contains(t, r.stdout, "The program is Go's (?[1m")
	assert.NotContains(t, r.stdout, "\x1b")
}

// Go's listeners are Multipath TCP's, which has no TCP_USER_TIMEOUT.
func TestSetRefused(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server, _ := startGo(t, "127.0.0.1:7000")
	l := list(t, "--pid", pid(server))
	require.Len(t, l, 1)
	if !l[0].MPTCP {
		netlab.Skip(t, errors.New("this kernel has no Multipath TCP, or sysctl net.mptcp.enabled is 0"))
	}
	r := runCommand(t, "set", "--pid", pid(server), "idle=1m,user_timeout=10s")
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stdout, "refused: setsockopt TCP_USER_TIMEOUT: protocol not available: the socket uses MPTCP, want plain TCP")
	assert.Equal(t, "1 socket: 0 set, 1 refused\n", r.stderr)
	after := list(t, "--pid", pid(server))
	require.Len(t, after, 1)
	after[0].Processes = l[0].Processes // a command of another test may hold it for a moment
	assert.Equal(t, l, after, "nothing was set")

	netlab.Sysctl(t, "tcp_keepalive_time", "100000")
	require.Equal(t, exitDone, runCommand(t, "set", "--pid", pid(server), "idle=1m").code)
	r = runCommand(t, "set", "--pid", pid(server), "default")
	assert.Contains(t, r.stdout, "or 0 for the system default\n", "any socket refuses it")
}

// The option that MPTCP lacks has no default to go back to, unless it is asked for.
func TestSetDefaultOfMPTCP(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_rto_max_ms", "33000")
	server, _ := startGo(t, "127.0.0.1:7000")
	l := list(t, "--pid", pid(server))
	require.Len(t, l, 1)
	if !l[0].MPTCP {
		netlab.Skip(t, errors.New("this kernel has no Multipath TCP, or sysctl net.mptcp.enabled is 0"))
	}
	for _, flags := range [][]string{{"--dry-run"}, nil} {
		r := runCommand(t, append([]string{"set", "--pid", pid(server), "default"}, flags...)...)
		assert.Equal(t, exitDone, r.code, r.stdout)
	}
	r := runCommand(t, "set", "--pid", pid(server), "max_rto=0")
	assert.Contains(t, r.stdout, "refused: setsockopt TCP_RTO_MAX_MS: ")
}

func TestSetWrongUsage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no policy":      {[]string{"--pid", "1"}, exitUsage, "POLICY is missing, want: keepalive set [FLAG...] POLICY"},
		"no selector":    {[]string{"off"}, exitUsage, "every socket is selected, want a flag that says which, such as --pid, --command or --remote"},
		"policy":         {[]string{"--pid", "1", "idle=1"}, exitUsage, `"idle=1": time: missing unit in duration "1"`},
		"empty policy":   {[]string{"--pid", "1", ""}, exitUsage, `unknown, want "default" alone, or any of off`},
		"range":          {[]string{"--pid", "1", "count=200"}, exitUsage, "Count is 200, want 1 to 127"},
		"pid":            {[]string{"--pid", "x", "off"}, exitUsage, `--pid is "x", want a whole number`},
		"remote":         {[]string{"--remote", "example.org", "off"}, exitUsage, `"example.org" is no address, want one such as`},
		"limit":          {[]string{"--hang=-1s", "off"}, exitUsage, "-1s is no limit, want a duration above zero, such as 10m"},
		"flag":           {[]string{"--nonsense", "off"}, exitUsage, "there is no flag --nonsense"},
		"nobody's there": {[]string{"--pid", "2147483647", "off"}, exitProblem, "no socket is selected that the caller may see"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runCommand(t, append([]string{"set"}, test.args...)...)
			assert.Equal(t, test.code, r.code)
			assert.Contains(t, r.stderr, test.want)
			assert.Equal(t, test.code == exitUsage, strings.Contains(r.stderr, "Try 'keepalive set --help'."))
			assert.Empty(t, r.stdout)
		})
	}
}

// A program may give its connection a policy of its own, or connect it elsewhere,
// after set has selected it. Then set leaves it alone.
func TestSetChecksTheSelectionAgain(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	l := newLoopbackOn(t, [4]byte{127, 77, 0, 1}) // which no other test has
	defer l.close()
	idle := func(fd int) int {
		n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		require.NoError(t, err)
		return n
	}
	out, in, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	defer in.Close()
	fill(t, in)
	cmd := command(t, "set", "--hang", "never", "--local", "127.77.0.1", "idle=300s")
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = in, &stderr
	require.NoError(t, cmd.Start())
	// Its output blocks it once it has set the first of the two connections.
	first, second := l.dialed, l.accepted
	awaitThat(t, func() bool {
		if idle(l.accepted) == 300 {
			first, second = second, first
		}
		return idle(first) == 300
	}, "none is set")
	require.NoError(t, unix.SetsockoptInt(second, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	require.NoError(t, unix.SetsockoptInt(second, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10))
	require.NoError(t, in.Close())
	printed, err := io.ReadAll(out)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	assert.Equal(t, 10, idle(second))
	assert.Equal(t, 1, bytes.Count(printed, []byte(" → idle=5m0s,")))
	assert.Equal(t, 1, bytes.Count(printed, []byte(": no longer selected\n")))
	assert.True(t, strings.HasSuffix(stderr.String(), "2 sockets: 1 set, 1 no longer selected\n"), stderr.String())
}

// fill writes to a pipe until it is full.
func fill(t testing.TB, pipe *os.File) {
	t.Helper()
	fd := int(pipe.Fd()) // which makes it blocking
	require.NoError(t, unix.SetNonblock(fd, true))
	for page := make([]byte, 4096); ; {
		_, err := unix.Write(fd, page)
		if err == unix.EAGAIN {
			break
		}
		require.NoError(t, err)
	}
	require.NoError(t, unix.SetNonblock(fd, false))
}
