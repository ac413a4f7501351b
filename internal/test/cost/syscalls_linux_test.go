//go:build !keepalive_portable

package cost

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// traceEnv makes the test binary do one thing for strace to watch.
const traceEnv = "KEEPALIVE_TRACE"

func init() {
	if name := os.Getenv(traceEnv); name != "" {
		os.Exit(traced(name))
	}
}

var tracedConfig = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}

// netConfig is tracedConfig as far as net can have it.
var netConfig = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 5 * time.Second, Count: 3}

// syscallsOf lists what each operation may cost: every setsockopt, getsockopt
// and open, in their order. TCP_NODELAY is net's own, SO_ERROR is how it learns
// that a connect has ended.
var syscallsOf = []struct {
	name string
	run  func(mark func())
	want string
}{
	{"net dial", traceDial(&net.Dialer{KeepAliveConfig: netConfig}), `
		getsockopt SO_ERROR
		setsockopt TCP_NODELAY
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE
		setsockopt TCP_KEEPINTVL
		setsockopt TCP_KEEPCNT`},
	{"dial", traceDial(&keepalive.Dialer{Config: tracedConfig}), `
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt TCP_KEEPIDLE
		setsockopt SO_KEEPALIVE
		setsockopt SO_KEEPALIVE
		getsockopt SO_ERROR
		setsockopt TCP_NODELAY
		setsockopt SO_KEEPALIVE`},
	{"dial with the zero Config", traceDial(new(keepalive.Dialer)), `
		setsockopt SO_KEEPALIVE
		setsockopt SO_KEEPALIVE
		getsockopt SO_ERROR
		setsockopt TCP_NODELAY
		setsockopt SO_KEEPALIVE`},
	{"dial with Disable", traceDial(&keepalive.Dialer{Config: keepalive.Config{Disable: true}}), `
		setsockopt SO_KEEPALIVE
		getsockopt SO_ERROR
		setsockopt TCP_NODELAY`},
	{"net accept", traceAccept(listenPlain(net.ListenConfig{KeepAliveConfig: netConfig})), `
		setsockopt TCP_NODELAY
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE
		setsockopt TCP_KEEPINTVL
		setsockopt TCP_KEEPCNT`},
	{"accept", traceAccept(func() (net.Listener, error) {
		return (&keepalive.ListenConfig{Config: tracedConfig}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	}), `
		setsockopt TCP_NODELAY`},
	{"wrapped accept", traceAccept(listenWrapped(net.ListenConfig{KeepAlive: -1}, tracedConfig)), `
		setsockopt TCP_NODELAY
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"wrapped accept of what is inherited", traceAccept(listenWrapped(net.ListenConfig{KeepAlive: -1, Control: tracedConfig.Control}, tracedConfig)), `
		setsockopt TCP_NODELAY
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"wrapped accept with the zero Config", traceAccept(listenWrapped(net.ListenConfig{}, keepalive.Config{})), `
		setsockopt TCP_NODELAY
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE
		setsockopt TCP_KEEPINTVL
		setsockopt TCP_KEEPCNT
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"NewListener with the zero Config", func(mark func()) {
		ln := must(listenPlain(net.ListenConfig{})())
		mark()
		must(keepalive.NewListener(ln, keepalive.Config{}))
		mark()
	}, `
		openat /proc/sys/net/ipv4/tcp_keepalive_time
		openat /proc/sys/net/ipv4/tcp_keepalive_intvl
		openat /proc/sys/net/ipv4/tcp_keepalive_probes
		getsockopt TCP_KEEPIDLE
		getsockopt TCP_KEEPINTVL
		getsockopt TCP_KEEPCNT`},
	{"WrapDial", traceDial(tcptest.DialFunc(tracedConfig.WrapDial((&net.Dialer{KeepAlive: -1}).DialContext))), `
		getsockopt SO_ERROR
		setsockopt TCP_NODELAY
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"WrapDial with the zero Config", traceDial(tcptest.DialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext))), `
		getsockopt SO_ERROR
		setsockopt TCP_NODELAY
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE
		setsockopt TCP_KEEPINTVL
		setsockopt TCP_KEEPCNT
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"Apply", traceConn(tracedConfig.Apply), `
		getsockopt TCP_INFO
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"Apply the zero Config", traceConn(keepalive.Config{}.Apply), `
		openat /proc/sys/net/ipv4/tcp_keepalive_time
		openat /proc/sys/net/ipv4/tcp_keepalive_intvl
		openat /proc/sys/net/ipv4/tcp_keepalive_probes
		getsockopt TCP_INFO
		setsockopt TCP_USER_TIMEOUT
		setsockopt TCP_KEEPCNT
		setsockopt TCP_KEEPINTVL
		setsockopt SO_KEEPALIVE
		setsockopt TCP_KEEPIDLE`},
	{"Get", traceConn(func(conn net.Conn) error { return tcptest.Err(keepalive.Get(conn)) }), `
		getsockopt TCP_KEEPIDLE
		getsockopt TCP_KEEPINTVL
		getsockopt TCP_KEEPCNT
		getsockopt TCP_USER_TIMEOUT
		getsockopt TCP_RTO_MAX_MS
		getsockopt SO_KEEPALIVE`},
	{"Stat", traceConn(func(conn net.Conn) error { return tcptest.Err(keepalive.Stat(conn)) }), `
		getsockopt TCP_INFO`},
}

func listenPlain(lc net.ListenConfig) func() (net.Listener, error) {
	lc.SetMultipathTCP(false)
	return func() (net.Listener, error) { return lc.Listen(context.Background(), "tcp4", "127.0.0.1:0") }
}

func listenWrapped(lc net.ListenConfig, c keepalive.Config) func() (net.Listener, error) {
	open := listenPlain(lc)
	return func() (net.Listener, error) { return keepalive.NewListener(must(open()), c) }
}

func traceDial(d tcptest.Dialer) func(mark func()) {
	return func(mark func()) {
		ln := must(listenPlain(net.ListenConfig{})())
		mark()
		conn := must(d.DialContext(context.Background(), "tcp4", ln.Addr().String()))
		mark()
		conn.Close()
	}
}

func traceAccept(open func() (net.Listener, error)) func(mark func()) {
	return func(mark func()) {
		ln := must(open())
		client := must(net.Dial("tcp4", ln.Addr().String()))
		mark()
		conn := must(ln.Accept())
		mark()
		client.Close()
		conn.Close()
	}
}

func traceConn(do func(net.Conn) error) func(mark func()) {
	return func(mark func()) {
		ln := must(listenPlain(net.ListenConfig{})())
		conn := must(net.Dial("tcp4", ln.Addr().String()))
		mark()
		err := do(conn)
		mark()
		must(conn, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// traced runs the operation with the marks that the trace is cut at.
func traced(name string) int {
	for _, tt := range syscallsOf {
		if tt.name == name {
			tt.run(func() { unix.Access("/mark", unix.F_OK) })
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, "nothing to trace is named", name)
	return 2
}

func TestSyscalls(t *testing.T) {
	t.Parallel()
	netlab.LookPath(t, "strace")
	for _, tt := range syscallsOf {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, strings.Fields(tt.want), strings.Fields(strings.Join(trace(t, tt.name), " ")))
		})
	}
}

// call matches the system calls that strace prints, with the option or the file
// that they are about.
var call = regexp.MustCompile(`(?:(setsockopt|getsockopt)\(\d+, \w+, (\w+)|(openat)\(\w+, "([^"]*)")`)

func trace(t *testing.T, name string) []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-e", "trace=setsockopt,getsockopt,openat,access,faccessat", "-o", log, "--", os.Args[0])
	cmd.Env = append(os.Environ(), traceEnv+"="+name)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	text, err := os.ReadFile(log)
	require.NoError(t, err)

	parts := regexp.MustCompile(`.*"/mark".*`).Split(string(text), -1)
	require.Len(t, parts, 3, "two marks in %s", text)
	var calls []string
	for _, m := range call.FindAllStringSubmatch(parts[1], -1) {
		option := strings.Replace(m[2], "0x2c", "TCP_RTO_MAX_MS", 1) // older than that
		calls = append(calls, strings.TrimSpace(m[1]+" "+option+m[3]+" "+m[4]))
	}
	return calls
}
