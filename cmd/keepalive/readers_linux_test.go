package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// noIterator is the error of a caller who may not load programs of eBPF.
const noIterator = "can't be read with eBPF"

// needReaders skips a test where the caller may not load programs of eBPF.
func needReaders(t testing.TB) {
	t.Helper()
	r := runCommand(t, "ls", "--reader=bpf", "--command", "nonesuch")
	if strings.Contains(r.stderr, noIterator) {
		netlab.Skip(t, fmt.Errorf("%s: %w", strings.TrimSpace(r.stderr), os.ErrPermission))
	}
}

// readBy returns what a reader shows of selected sockets of network namespaces,
// without the time that passes between two calls.
func readBy(t testing.TB, reader string, selected []string, namespaces ...uint64) (lines []string) {
	t.Helper()
	for _, o := range list(t, append(selected, "--reader="+reader)...) {
		if o.NetNS == nil || !slices.Contains(namespaces, *o.NetNS) {
			continue
		}
		o.Heard = 0
		lines = append(lines, fmt.Sprintf("%v %s %v %v %d %v %v %v %v %v %v %v idle %v in flight %v %+v", o.Processes, o.State, orZero(o.Local), orZero(o.Remote),
			*o.NetNS, o.MPTCP, o.KeepAlive, o.Idle, o.Interval, o.Count, o.UserTimeout, o.MaxRTO,
			orZero(o.UnnoticedIdle), orZero(o.UnnoticedInFlight), *o.jsonStatus))
	}
	slices.Sort(lines)
	return lines
}

func orZero[T any](v *T) (zero T) {
	if v == nil {
		return zero
	}
	return *v
}

// assertReadersAgree waits until both readers show the same, and returns it. Programs
// fork, and another command duplicates descriptors for a moment.
func assertReadersAgree(t testing.TB, selected []string, namespaces ...uint64) []string {
	t.Helper()
	var byIterator, byDescriptor []string
	for giveUp := time.Now().Add(2 * time.Minute); time.Now().Before(giveUp); {
		byIterator, byDescriptor = readBy(t, "bpf", selected, namespaces...), readBy(t, "getfd", selected, namespaces...)
		if slices.Equal(byIterator, byDescriptor) {
			return byIterator
		}
	}
	assert.Equal(t, byDescriptor, byIterator)
	return byIterator
}

// Servers that fork, and clients with IPv4, IPv6 and both.
func TestReadersAgreeOnServers(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
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
	dial(t, "127.0.0.1:7000")
	dial(t, "[::1]:7000")
	out.await(t, "(?s)accepted.*accepted")
	awaitThat(t, func() bool { return len(ssAll(t)) >= 14 }, "connections are missing")
	all := strings.Join(assertReadersAgree(t, nil, namespaceOf(t)), "\n")
	for _, part := range []string{"redis-server", "nginx", "sshd", "postgres", "psql", "goserver", "listen", "established", "::1"} {
		assert.Contains(t, all, part)
	}
}

// Every state that a socket with a descriptor can stay in, and every option.
func TestReadersAgreeOnStates(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
	half, silent, connecting, custom := newLoopback(t), newLoopback(t), newLoopback(t), newLoopback(t)
	for _, l := range []loopback{half, silent, connecting, custom} {
		defer l.close()
	}
	require.NoError(t, unix.Shutdown(half.dialed, unix.SHUT_WR))
	for range 4 { // more than the queue of the listening socket holds
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		require.NoError(t, unix.Listen(connecting.listener, 0))
		assert.ErrorIs(t, unix.Connect(fd, connecting.address(t)), unix.EINPROGRESS)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} { // closed, with and without an address
		for _, bound := range []bool{false, true} {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			defer unix.Close(fd)
			if bound && family == unix.AF_INET {
				require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
			} else if bound {
				require.NoError(t, unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}))
			}
		}
	}
	for option, value := range map[int]int{unix.TCP_KEEPIDLE: 61, unix.TCP_KEEPINTVL: 7, unix.TCP_KEEPCNT: 5, unix.TCP_USER_TIMEOUT: 70_001} {
		require.NoError(t, unix.SetsockoptInt(custom.accepted, unix.IPPROTO_TCP, option, value))
	}
	const maxRTO = 44 // TCP_RTO_MAX_MS, which older kernels lack
	unix.SetsockoptInt(custom.accepted, unix.IPPROTO_TCP, maxRTO, 3_001)
	require.NoError(t, unix.SetsockoptInt(custom.accepted, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	all := strings.Join(assertReadersAgree(t, ofThisProcess(), namespaceOf(t)), "\n")
	for _, state := range []string{"established", "listen", "close-wait", "fin-wait-2", "closed", "syn-sent"} {
		assert.Contains(t, all, state)
	}
}

// The readers look at the same connections one after the other, while a
// retransmission may be counted in between.
func TestReadersAgreeOnSuspects(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
	conn := dial(t, listenOn(t, "tcp4", "127.0.0.1:0", false))
	netlab.MustSilence(t, conn)
	l := newLoopback(t)
	defer l.close()
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	awaitThat(t, func() bool { return len(list(t, append(ofThisProcess(), "--suspect")...)) > 0 }, "nothing is retransmitted")
	assert.Contains(t, strings.Join(assertReadersAgree(t, ofThisProcess(), namespaceOf(t)), "\n"), "Unacked:1")
}

// listenOn returns the address of a listener that accepts and keeps connections.
func listenOn(t testing.TB, network, address string, mptcp bool) string {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(mptcp)
	ln, err := config.Listen(t.Context(), network, address)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return ln.Addr().String()
}

// Multipath TCP, and IPv4 on a socket of IPv6.
func TestReadersAgreeOnFamilies(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
	_, port, err := net.SplitHostPort(listenOn(t, "tcp", "[::]:0", true))
	require.NoError(t, err)
	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn, err := dialer.Dial("tcp", net.JoinHostPort(host, port))
		require.NoError(t, err)
		defer conn.Close()
	}
	mapped, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(mapped)
	require.NoError(t, unix.Bind(mapped, &unix.SockaddrInet6{}))
	out, err := exec.Command(netlab.LookPath(t, "ip"), "address", "add", "fe80::1/64", "dev", "lo", "nodad").CombinedOutput()
	require.NoError(t, err, "%s", out)
	linkLocal := listenOn(t, "tcp6", "[fe80::1%lo]:0", false)
	dial(t, linkLocal)
	all := strings.Join(assertReadersAgree(t, ofThisProcess(), namespaceOf(t)), "\n")
	assert.Contains(t, all, "[fe80::1%lo]:")
	assert.Contains(t, all, " 127.0.0.1:"+port)
}

// Sockets of other network namespaces, of another PID namespace, of a thread, of a
// process without its main thread, and those that processes share.
func TestReadersAgreeOnProcesses(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "100")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "7")
	netlab.Sysctl(t, "tcp_keepalive_probes", "5")
	netlab.Sysctl(t, "tcp_retries2", "4")
	startThreads(t, "own", nil)
	startThreads(t, "ended", nil)
	inner := exec.Command(program(t, "goserver"), "127.0.0.1:0")
	inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	start(t, inner).await(t, "listening")
	l := newLoopback(t)
	defer l.close()
	there := namespaceOf(t)
	shared := exec.Command("sleep", "1000")
	shared.ExtraFiles = []*os.File{dup(t, l.listener), dup(t, l.accepted)}
	start(t, shared)

	netlab.NewNamespace(t) // and the sockets of the other one stay
	own := newLoopback(t)
	defer own.close()
	all := assertReadersAgree(t, nil, there, namespaceOf(t))
	text := strings.Join(all, "\n")
	assert.Contains(t, text, "goserver")
	assert.Contains(t, text, "sleep")
	assert.Equal(t, 8, strings.Count(text, "threads"))
	assert.Contains(t, text, "100 7 5")
	assert.Contains(t, text, "in flight 6.2 ", "the sysctls of the namespace of the socket")
	assert.Contains(t, text, "in flight 924.6 ")
}

func dup(t testing.TB, fd int) *os.File {
	t.Helper()
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	file := os.NewFile(uintptr(copied), "socket")
	t.Cleanup(func() { file.Close() })
	return file
}

// Without the rights for eBPF, ls uses the other reader and prints the reason.
func TestReaderFallsBack(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	r := asNobody(t, "ls", "--debug")
	assert.Equal(t, exitDone, r.code)
	assert.Regexp(t, `(?m)^debug: sockets are read by getfd: .*operation not permitted`, r.stderr)
	r = asNobody(t, "ls", "--reader=bpf")
	assert.Equal(t, exitProblem, r.code)
	assert.Regexp(t, `^keepalive: the sockets can't be read with eBPF: .*operation not permitted`, r.stderr)
	r = runCommand(t, "ls", "--reader=getfd", "--debug", "--command", "nonesuch")
	assert.Contains(t, r.stderr, "debug: sockets are read by getfd: it was asked for\n")
}

// In another PID namespace the iterator returns ids that mean nothing there.
func TestReaderInAnotherPIDNamespace(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	needReaders(t)
	startGo(t, "127.0.0.1:7000") // outside of it
	cmd := exec.CommandContext(t.Context(), netlab.LookPath(t, "unshare"), "--pid", "--fork", "--mount-proc", program(t, "keepalive"), "ls", "--debug", "--local", ":7000")
	r := finish(t, cmd)
	assert.Contains(t, r.stderr, "debug: sockets are read by getfd: this is not the machine's own PID namespace\n")
	assert.Equal(t, "no TCP socket matches\n", r.stdout)
}
