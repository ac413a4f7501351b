package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What ss says of a socket: who holds it, whether its keepalive timer runs.
func TestLsAgreesWithSS(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	startRedis(t)
	startNginx(t, "listen 127.0.0.1:8080 so_keepalive=5m:10s:3; listen [::1]:8080;")
	startSSHD(t)
	startPostgres(t)
	_, out := startGo(t, "[::]:7000")
	startPsql(t, "")
	ask(t, dial(t, "127.0.0.1:6379"))
	dial(t, "127.0.0.1:8080")
	dial(t, "[::1]:8080")
	dial(t, "127.0.0.1:2222")
	dial(t, "127.0.0.1:7000") // IPv4 on a socket of IPv6
	dial(t, "[::1]:7000")
	out.await(t, "(?s)accepted.*accepted")

	var want, got map[string]string
	for giveUp := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		want, got = ssAll(t), lsAll(t)
		if len(want) >= 14 && maps.Equal(want, got) || time.Now().After(giveUp) {
			break // sshd has forked a child for its connection by now
		}
	}
	assert.Equal(t, want, got)
	all := fmt.Sprint(slices.Collect(maps.Values(got)))
	for _, program := range []string{"redis-server", "nginx", "sshd", "postgres", "psql", "goserver"} {
		assert.Contains(t, all, program)
	}
}

var (
	ssUsers = regexp.MustCompile(`\("([^"]*)",pid=(\d+),fd=(\d+)\)`)
	ssTimer = regexp.MustCompile(`timer:\(keepalive,`)
)

// ssAll returns what ss says of each connection for which it names a process.
func ssAll(t testing.TB) map[string]string {
	t.Helper()
	out, err := exec.Command(netlab.LookPath(t, "ss"), "-tnpoH").Output()
	require.NoError(t, err)
	all := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		var holders []string
		for _, user := range ssUsers.FindAllStringSubmatch(line, -1) {
			holders = append(holders, strings.Join(user[1:], " "))
		}
		if len(holders) == 0 {
			continue
		}
		slices.Sort(holders)
		fields := strings.Fields(line)
		state := strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(fields[0], "ESTAB", "ESTABLISHED")), "_", "-")
		all[unmapped(t, fields[3])+" "+unmapped(t, fields[4])] = fmt.Sprint(state, " ", holders, " keepalive ", ssTimer.MatchString(line))
	}
	return all
}

func unmapped(t testing.TB, address string) string {
	a, err := netip.ParseAddrPort(address)
	require.NoError(t, err)
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// lsAll is ssAll for the command, in the namespace of the calling thread.
func lsAll(t testing.TB) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, o := range list(t) {
		if o.State == "listen" || value(t, o.NetNS) != namespaceOf(t) || o.Local == nil || o.Remote == nil {
			continue
		}
		var holders []string
		for _, p := range o.Processes {
			holders = append(holders, fmt.Sprint(p.Command, " ", p.PID, " ", p.FD))
		}
		slices.Sort(holders)
		all[o.Local.String()+" "+o.Remote.String()] = fmt.Sprint(o.State, " ", holders, " keepalive ", o.KeepAlive)
	}
	return all
}

func namespaceOf(t testing.TB) uint64 {
	t.Helper()
	info, err := os.Stat("/proc/thread-self/ns/net")
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
}

// The command runs in another network namespace than the socket, whose sysctls
// are what counts.
func TestLsInAnotherNamespace(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "100")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "7")
	netlab.Sysctl(t, "tcp_keepalive_probes", "5")
	netlab.Sysctl(t, "tcp_retries2", "4")
	server := startNginx(t, "listen 127.0.0.1:8080;")
	dial(t, "127.0.0.1:8080").Close()
	l := outside(t, func() []listed { return list(t, "--pid", pid(server)) })
	require.Len(t, l, 1)
	o := l[0]
	assert.Equal(t, "listen false 100 7 5\n", fmt.Sprintln(o.State, o.KeepAlive, o.Idle, o.Interval, o.Count))
	assert.Nil(t, o.UnnoticedIdle, "never")
	assert.Equal(t, 6.2, float64(value(t, o.UnnoticedInFlight)), "0.2 s, doubled 4 times, and the last wait")
	assert.Equal(t, namespaceOf(t), value(t, o.NetNS))
	assert.Len(t, o.Processes, 3, "nginx and two workers share it")
}

// asNobody runs the command as a user who may do nothing.
func asNobody(t testing.TB, args ...string) result {
	t.Helper()
	return finish(t, commandOfNobody(t, args...))
}

func commandOfNobody(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		netlab.Skip(t, errors.New("only root runs a program as another user: run the tests as root"))
	}
	dir, credential := dirOf(t, "nobody")
	cmd := command(t, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	return cmd
}

func TestRefusedProcess(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	ask(t, dial(t, "127.0.0.1:6379"))
	const reason = "it belongs to another user, so it takes CAP_SYS_PTRACE, which root has"

	r := asNobody(t, "set", "--pid", pid(server), "idle=1m")
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stderr, fmt.Sprintf("keepalive: redis-server[%s] of user root: %s (open /proc/%[1]s/fd: permission denied)\n", pid(server), reason))
	assert.Empty(t, r.stdout)

	r = asNobody(t, "ls", "--pid", pid(server))
	assert.Equal(t, exitDone, r.code)
	assert.Contains(t, r.stdout, "1 process could not be looked into (1: "+reason+")\n")

	for _, args := range [][]string{{"--pid", pid(server), "--hang=100h"}, {"--hang-in-flight=100h"}, {"--hang=100h", "--json"}} {
		r = asNobody(t, append([]string{"ls"}, args...)...)
		assert.Equal(t, exitProblem, r.code, "what can't be seen may hang: %v", args)
		assert.NotContains(t, r.stdout+r.stderr, "no TCP socket was found")
	}

	r = asNobody(t, "ls", "--json")
	assert.Equal(t, exitDone, r.code)
	assert.Regexp(t, `^\d+ processes could not be looked into \((.*; )?\d+: `+reason, r.stderr)
	for _, o := range objects(t, r.stdout) { // other servers of this machine may be nobody's
		for _, p := range o.Processes {
			assert.NotEqual(t, server.Process.Pid, p.PID)
		}
	}
}

// Who may look into a process may not enter its network namespace for that.
func TestUnknownSysctls(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, credential := dirOf(t, "nobody")
	server := exec.Command(program(t, "goserver"), "127.0.0.1:7000")
	server.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
	out := start(t, server)
	out.await(t, "listening")
	conn := dial(t, "127.0.0.1:7000")
	out.await(t, "accepted")
	about := []string{"--pid", pid(server), "--remote", conn.LocalAddr().String()}
	ls := func() listed {
		r := outside(t, func() result { return asNobody(t, append([]string{"ls", "--json"}, about...)...) })
		l := objects(t, r.stdout)
		require.Len(t, l, 1, r.stderr)
		return l[0]
	}
	o := ls()
	assert.Nil(t, o.NetNS)
	assert.Nil(t, o.UnnoticedInFlight)
	assert.Equal(t, 150.0, float64(value(t, o.UnnoticedIdle)), "the socket tells it itself")
	r := outside(t, func() result { return asNobody(t, append([]string{"ls", "--hang-in-flight=1h"}, about...)...) })
	assert.Equal(t, exitProblem, r.code, "what is not known may be too long")
	assert.Regexp(t, ` \? `, r.stdout)

	r = outside(t, func() result { return asNobody(t, append([]string{"set", "default"}, about...)...) })
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stdout, "refused: the system's defaults can't be read: "+
		"another network namespace takes CAP_NET_ADMIN and CAP_SYS_ADMIN over it, which root has (ioctl SIOCGSKNS: operation not permitted)")
	r = outside(t, func() result { return asNobody(t, append([]string{"set", "user_timeout=0"}, about...)...) })
	assert.Equal(t, exitDone, r.code, "none is no default of the system: %s%s", r.stdout, r.stderr)
	r = outside(t, func() result { return asNobody(t, append([]string{"set", "user_timeout=9s"}, about...)...) })
	assert.Equal(t, exitDone, r.code, r.stdout+r.stderr)
	assert.Equal(t, 9.0, float64(value(t, ls().UnnoticedInFlight)), "the socket tells it itself")
}

func TestLsHang(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	conn := dial(t, "127.0.0.1:6379")
	ask(t, conn)
	for _, test := range []struct {
		policy string
		flag   string
		found  bool
	}{
		{"off", "--hang=never", true},
		{"off", "--hang=100h", true},
		{"off", "--hang-in-flight=1h", false},
		{"idle=1m,interval=10s,count=3", "--hang=never", false},
		{"idle=1m,interval=10s,count=3", "--hang=89s", true},
		{"idle=1m,interval=10s,count=3", "--hang=90s", false},
		{"max_rto=120s", "--hang-in-flight=15m", true},
		{"user_timeout=50s", "--hang-in-flight=15m", false},
		{"user_timeout=50s", "--hang-in-flight=49s", true},
	} {
		require.Equal(t, exitDone, runCommand(t, "set", "--pid", pid(server), "--remote", conn.LocalAddr().String(), test.policy).code)
		r := runCommand(t, "ls", "--pid", pid(server), "--json", test.flag)
		assert.Equal(t, test.found, r.code == exitProblem, "%v", test)
		assert.Len(t, objects(t, r.stdout), strings.Count(r.stdout, "\n"))
		assert.Equal(t, test.found, r.stdout != "", "%v", test)
		assert.Equal(t, test.found, runCommand(t, "ls", "--pid", pid(server), test.flag).code == exitProblem, "%v", test)
	}
	r := runCommand(t, "ls", "--pid", pid(server), "--json", "--listen", "--hang", "never")
	assert.Equal(t, exitProblem, r.code)
	assert.Equal(t, "listen", objects(t, r.stdout)[0].State)
}

// A guard that watches nothing fails.
func TestLsHangOfNobody(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t)
	ask(t, dial(t, "127.0.0.1:6379"))
	long := exec.Command("sleep", "1000")
	start(t, long)
	for flags, missing := range map[string]string{
		"--command nonesuch":                               "no TCP socket was found for --command nonesuch\n",
		"--pid 2147483647":                                 "no TCP socket was found for --pid 2147483647\n",
		"--pid " + pid(long):                               "no TCP socket was found for --pid " + pid(long) + "\n",
		"--pid " + pid(server) + ",2147483647":             "no TCP socket was found for --pid 2147483647\n",
		"--pid " + pid(server):                             "",
		"--pid " + pid(server) + " --remote 10.0.0.1":      "",
		"--pid " + pid(server) + " --command redis-server": "",
	} {
		for _, form := range []string{"", "--json"} {
			r := runCommand(t, strings.Fields("ls --hang never "+form+" "+flags)...)
			assert.Equal(t, missing != "", r.code == exitProblem, "%s %s", flags, form)
			assert.Equal(t, missing, r.stdout+r.stderr, "%s %s", flags, form)
		}
		r := runCommand(t, strings.Fields("ls "+flags)...)
		assert.Equal(t, missing != "", r.code == exitProblem, "without --hang")
		assert.True(t, strings.HasSuffix(r.stdout, missing), "it is said too: %s", r.stdout)
	}
}

func TestLsSelects(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	server := startRedis(t, "--bind", "127.0.0.1", "::1")
	four, six := dial(t, "127.0.0.1:6379"), dial(t, "[::1]:6379")
	ask(t, four)
	ask(t, six)
	for _, test := range []struct {
		flags string
		want  int
	}{
		{"", 4},
		{"--listen", 2},
		{"--command redis-server", 4},
		{"--command redis-serve", 0},
		{"--command nginx", 0},
		{"--command nginx,redis-server", 0}, // a name may have a comma
		{"--command nginx --command redis-server", 4},
		{"--command redis-server-of-a-long-name", 0},
		{"--pid 2147483647", 4}, // either
		{"--local 127.0.0.0/8", 2},
		{"--local :6379", 4},
		{"--local :6380", 0},
		{"--remote 127.0.0.1", 1},
		{"--remote ::ffff:127.0.0.1", 1},
		{"--remote ::ffff:127.0.0.0/104", 1},
		{"--remote [::ffff:0:0/96]", 1},
		{"--remote 127.0.0.1 --remote ::1", 2},
		{"--remote " + four.LocalAddr().String(), 1},
		{"--remote " + six.LocalAddr().String(), 1},
		{"--remote [::]/0", 1},
		{"--remote 0.0.0.0/0 --local 10.0.0.0/8", 0},
		{"--suspect", 0},
	} {
		args := append([]string{"--pid", pid(server)}, strings.Fields(test.flags)...)
		assert.Len(t, list(t, args...), test.want, test.flags)
	}
}

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.1.2.3":              "10.1.2.3/32 0",
		"10.1.2.3:80":           "10.1.2.3/32 80",
		"10.1.2.3/8":            "10.0.0.0/8 0",
		"10.1.2.3/8:443":        "10.0.0.0/8 443",
		":443":                  "invalid Prefix 443",
		"::1":                   "::1/128 0",
		"[::1]":                 "::1/128 0",
		"[::1]:80":              "::1/128 80",
		"2001:db8::/32":         "2001:db8::/32 0",
		"[2001:db8::/32]:80":    "2001:db8::/32 80",
		"[2001:db8::]/32":       "2001:db8::/32 0",
		"::ffff:10.1.2.3":       "10.1.2.3/32 0",
		"fe80::1%eth0":          "fe80::1/128%eth0 0",
		"[fe80::1%eth0]:80":     "fe80::1/128%eth0 80",
		"fe80::1%2":             "error",
		"2001:db8::1%eth0":      "error",
		"::ffff:10.1.2.3%eth0":  "error",
		"fe80::%eth0/64":        "error",
		"::ffff:10.1.2.3/104":   "10.0.0.0/8 0",
		"[::ffff:0:0/96]:443":   "0.0.0.0/0 443",
		"::ffff:0:0/95":         "error",
		"::/0":                  "::/0 0",
		"":                      "error",
		":":                     "error",
		":0":                    "error",
		":65536":                "error",
		"example.org:80":        "error",
		"10.1.2.3/33":           "error",
		"10.1.2.3:http":         "error",
		"[2001:db8::/129]:80":   "error",
		"2001:db8::/32:80:nope": "error",
	} {
		e, err := endpoints.Parse(text)
		got := fmt.Sprint(e.Prefix, strings.TrimSuffix("%"+e.Zone, "%"), " ", e.Port)
		if err != nil {
			got = "error"
		}
		assert.Equal(t, want, got, "%q: %v", text, err)
	}
}

// A program chooses its name, but not what it does to the terminal.
func TestLsPrintsNames(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	path := filepath.Join(t.TempDir(), "a\x1b[31m\"b\xff")
	require.NoError(t, os.Symlink(program(t, "goserver"), path))
	server := exec.Command(path, "127.0.0.1:7000")
	start(t, server).await(t, "listening")
	r := runCommand(t, "ls", "--pid", pid(server))
	assert.Contains(t, r.stdout, `a?[31m"b`)
	assert.NotContains(t, r.stdout, "\x1b")
	l := list(t, "--pid", pid(server))
	require.Len(t, l, 1)
	assert.Equal(t, "a?[31m\"b\ufffd", l[0].Processes[0].Command)
}

// A connection that is closed on one side, and a socket that was never connected.
func TestLsStates(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn := dial(t, ln.Addr().String())
	accepted, err := ln.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	require.NoError(t, conn.CloseWrite())
	fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	here, states := namespaceOf(t), make(map[string]int)
	awaitThat(t, func() bool {
		clear(states)
		for _, o := range list(t, "--pid", strconv.Itoa(os.Getpid())) {
			if value(t, o.NetNS) == here {
				states[o.State]++
			}
		}
		return states["fin-wait-2"] == 1
	}, "%v", states)
	assert.Equal(t, map[string]int{"listen": 1, "fin-wait-2": 1, "close-wait": 1, "closed": 1}, states)
}

// A connection that is not established has no peer that could have been heard.
func TestLsConnecting(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	// The kernel drops SYNs for a listening socket whose queue is full.
	listener := socket()
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(listener, 0))
	address, err := unix.Getsockname(listener)
	require.NoError(t, err)
	for range 4 {
		assert.ErrorIs(t, unix.Connect(socket(), address), unix.EINPROGRESS)
	}
	here := namespaceOf(t)
	ls := func(flags ...string) (connecting []listed) {
		for _, o := range list(t, append(flags, "--pid", strconv.Itoa(os.Getpid()))...) {
			if value(t, o.NetNS) == here && o.State == "syn-sent" {
				connecting = append(connecting, o)
			}
		}
		return connecting
	}
	l := ls()
	require.NotEmpty(t, l)
	for _, o := range l {
		assert.Equal(t, value(t, l[0].Remote), value(t, o.Remote), "which getpeername(2) does not tell")
		assert.Equal(t, address.(*unix.SockaddrInet4).Port, int(o.Remote.Port()))
		assert.Nil(t, o.UnnoticedIdle)
		assert.Nil(t, o.UnnoticedInFlight)
		assert.Equal(t, jsonStatus{}, *o.jsonStatus)
	}
	awaitThat(t, func() bool {
		out, err := exec.Command(netlab.LookPath(t, "ss"), "-tonH", "state", "syn-sent").Output()
		require.NoError(t, err)
		return regexp.MustCompile(`timer:\(on,[^,]*,[1-9]`).Match(out)
	}, "no SYN is sent again")
	assert.Empty(t, ls("--suspect"))
	assert.Empty(t, ls("--hang", "never"))
	assert.NotEmpty(t, ls("--remote", value(t, l[0].Remote).String()))
	assert.Regexp(t, `(?m) 127\.0\.0\.1:\d+ syn-sent .* - +- +- +- +- +\d+$`, runCommand(t, "ls", "--pid", strconv.Itoa(os.Getpid())).stdout)
}
