package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sysctld"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A network namespace other than the first: no file sets its values.
func TestDefaults(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "100")
	netlab.Sysctl(t, "tcp_keepalive_probes", "4")
	netlab.Sysctl(t, "tcp_retries2", "4")
	r := runCommand(t, "defaults")
	require.Equal(t, exitDone, r.code, r.stderr)
	lines := strings.Split(regexp.MustCompile(` +`).ReplaceAllString(r.stdout, " "), "\n")
	assert.Equal(t, []string{
		"SYSCTL VALUE SET BY",
		"net.ipv4.tcp_keepalive_time 100 s somebody in this network namespace",
		"net.ipv4.tcp_keepalive_intvl 75 s the kernel",
		"net.ipv4.tcp_keepalive_probes 4 somebody in this network namespace",
		"net.ipv4.tcp_retries2 4 somebody in this network namespace",
		"net.ipv4.tcp_rto_max_ms 120000 ms the kernel",
		"",
		"This network namespace is not the first one of the machine: files of sysctl.d(5) do not set its values.",
		"",
		"POLICY UNNOTICED IN FLIGHT",
		"sysctl idle=1m40s,interval=1m15s,count=4 6m40s 6.2s",
		"Go's net idle=15s,interval=15s,count=9 2m30s 6.2s",
		"none off never 6.2s",
		"",
	}, lines)

	// The same from outside.
	program := exec.Command("sleep", "60")
	start(t, program)
	outside := make(chan result)
	go func() { outside <- runCommand(t, "defaults", "--pid", pid(program)) }()
	assert.Equal(t, r, <-outside)

	// Without any network device.
	setLoopback(t, "down")
	assert.Equal(t, r, runCommand(t, "defaults"))
	setLoopback(t, "up")
	dialed := dial(t, startListener(t))
	held, err := keepalive.Get(dialed)
	require.NoError(t, err)
	assert.Contains(t, strings.Join(lines, "\n"), "Go's net "+held.String()+" ", "as on a connection")
}

func setLoopback(t *testing.T, state string) {
	t.Helper()
	out, err := exec.Command(netlab.LookPath(t, "ip"), "link", "set", "lo", state).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// startListener returns the address of a server of this process.
func startListener(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func TestDefaultsOfAProcess(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]result{
		"--pid 2000000000": {code: exitProblem, stderr: "keepalive: there is no process 2000000000, or /proc hides it\n"},
		"--pid 0":          {code: exitUsage, stderr: "keepalive: --pid is 0, want the id of a process that runs\nTry 'keepalive defaults --help'.\n"},
	} {
		assert.Equal(t, want, runCommand(t, append([]string{"defaults"}, strings.Fields(args)...)...))
	}
	r := finish(t, commandOfNobody(t, "defaults", "--pid", "1"))
	assert.Equal(t, exitProblem, r.code)
	assert.Contains(t, r.stderr, "the network namespace of process 1 can't be read: open /proc/1/ns/net: permission denied: it takes the rights of ptrace(2)")
}

// The kernel takes a value as the command does.
func TestSysctlValues(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	const file = "/proc/sys/net/ipv4/tcp_keepalive_time"
	for _, value := range []string{"64", "0x40", "0X40", "010", "08", "4 # comment", "4# comment", "4\t5", "+4", "-1", "1_000", "0b1", "0x", "abc", "100000", "2147483648"} {
		require.NoError(t, os.WriteFile(file, []byte("7200"), 0))
		err := os.WriteFile(file, []byte(value), 0)
		n, ok := sysctld.Assignment{Value: value}.Int()
		require.Equal(t, err == nil, ok, value)
		if ok {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprintln(n), string(text), value)
		}
	}
}

// originOf returns what the command says of who sets tcp_keepalive_time in the first
// network namespace, where a file has these lines.
func originOf(t *testing.T, lines string) string {
	t.Helper()
	dir := "/etc/sysctl.d"
	for _, other := range []string{dir, "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"} {
		if _, err := os.Stat(other); err == nil {
			require.NoError(t, unix.Mount("none", other, "tmpfs", 0, ""))
		}
	}
	require.NoError(t, os.WriteFile(dir+"/10-test.conf", []byte(lines), 0o644))
	r := runCommand(t, "defaults")
	require.Equal(t, exitDone, r.code, r.stderr)
	_, text, _ := strings.Cut(r.stdout, "net.ipv4.tcp_keepalive_time ")
	text, _, _ = strings.Cut(text, "\n")
	fields := strings.Fields(text)
	return strings.Join(fields[2:], " ")
}

// Files set the values of the first network namespace.
func TestDefaultsNamesTheFile(t *testing.T) {
	t.Parallel()
	if !filesApply() {
		netlab.Skip(t, errors.New("the files of sysctl.d(5) set the first network namespace, and this is another"))
	}
	if _, err := os.Stat("/etc/sysctl.d"); err != nil {
		netlab.Skip(t, err)
	}
	value, err := sysctl.Int("tcp_keepalive_time")
	require.NoError(t, err)
	runtime.LockOSThread() // never unlocked: the thread has mounts of its own
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		netlab.Skip(t, os.NewSyscallError("unshare", err))
	}
	require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	const file = "/etc/sysctl.d/10-test.conf"
	for lines, want := range map[string]string{
		fmt.Sprintf("net.ipv4.tcp_keepalive_time = %d # as before", value):                    file + ":1",
		fmt.Sprintf("net/ipv4/tcp_keepalive_time=0x%x", value):                                file + ":1",
		fmt.Sprintf("-net.ipv4.tcp_keepalive_time=0%o\nnet.ipv4.tcp_keepalive_*=45", value):   file + ":1",
		fmt.Sprintf("%s\nnet.ipv4.tcp_keepalive_time=%d", strings.Repeat("a", 100000), value): file + ":2",
		"net.ipv4.tcp_keepalive_time=0x41":                                                    `somebody since boot: ` + file + `:1 sets "0x41"`,
	} {
		assert.Equal(t, want, originOf(t, lines), "%.60s", lines)
	}
	if value != 7200 {
		return
	}
	for lines, want := range map[string]string{
		"net.ipv4.tcp_keepalive_*=45\n-net.ipv4.tcp_keepalive_time": "the kernel: no file sets it",
		"net.ipv4.tcp_keepalive_time=7200s":                         `the kernel: ` + file + `:1 sets "7200s", which it refuses`,
	} {
		assert.Equal(t, want, originOf(t, lines))
	}
}

// Nothing of the origin or the policy is cut, however narrow the terminal is.
func TestDefaultsOnANarrowTerminal(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "100")
	for _, width := range []uint16{20, 40, 60, 80} {
		shown := show(t, width, 60, "NO_COLOR=1", "defaults")
		assert.Contains(t, shown, "somebody in this network namespace\n", "%d", width)
		assert.Contains(t, shown, "idle=1m40s,interval=1m15s,count=9", "%d", width)
		assert.NotContains(t, shown, "…", "%d", width)
	}
	assert.Contains(t, show(t, 40, 60, "NO_COLOR=1", "defaults"),
		"net.ipv4.tcp_keepalive_time\n  VALUE 100 s\n  SET BY somebody in this network namespace\n")
}

// Linux has tcp_rto_max_ms since 6.15.
func TestDefaultsOfAnOlderKernel(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.MountOver(t, "/proc/sys/net/ipv4", map[string]string{"tcp_retries2": "15\n"})
	r := runCommand(t, "defaults")
	require.Equal(t, exitDone, r.code, r.stderr)
	assert.Regexp(t, `(?m)^net\.ipv4\.tcp_retries2 +15 +the kernel`, r.stdout)
	assert.Regexp(t, `(?m)^net\.ipv4\.tcp_rto_max_ms +\? +nobody: this kernel lacks it, or /proc hides it$`, r.stdout)
}
