package tcptest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Jiffy is the longest that there is, with HZ=100. The kernel counts them from
// the one in which a segment arrived.
const Jiffy = 10 * time.Millisecond

// KernelTime returns the time since boot by the clock that jiffies drive. One
// processor counts them. Where the host of a virtual machine does not run that one,
// they stand still for the others, and catch up later.
func KernelTime(t testing.TB) time.Duration {
	t.Helper()
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now))
	return time.Duration(now.Nano())
}

// GetsockoptInt returns a socket option of a connection or listener.
func GetsockoptInt(t testing.TB, socket any, level, opt int) (value int) {
	t.Helper()
	Control(t, socket, func(fd uintptr) {
		var err error
		value, err = unix.GetsockoptInt(int(fd), level, opt)
		require.NoError(t, err)
	})
	return value
}

// SetsockoptInt sets a socket option of a connection or listener.
func SetsockoptInt(t testing.TB, socket any, level, opt, value int) {
	t.Helper()
	Control(t, socket, func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), level, opt, value))
	})
}

// Protocol returns IPPROTO_TCP or IPPROTO_MPTCP.
func Protocol(t testing.TB, socket any) int {
	t.Helper()
	return GetsockoptInt(t, socket, unix.SOL_SOCKET, unix.SO_PROTOCOL)
}

// TCPInfo returns what the kernel knows of a connection.
func TCPInfo(t testing.TB, conn net.Conn) (info *unix.TCPInfo) {
	t.Helper()
	Control(t, conn, func(fd uintptr) {
		var err error
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		require.NoError(t, err)
	})
	return info
}

// TCPInfoSize returns how much of TCP_INFO the kernel hands over, or an emulator.
func TCPInfoSize(t testing.TB, conn net.Conn) int {
	t.Helper()
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	Control(t, conn, func(fd uintptr) {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		require.Zero(t, errno)
	})
	return int(size)
}

// Sysctls returns the policy that the sysctls of the thread's network namespace
// make.
func Sysctls(t testing.TB) keepalive.Config {
	t.Helper()
	if netlab.GVisor.Here() { // zeros there, where its sockets have these
		return keepalive.Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9}
	}
	read := func(name string) int {
		text, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4", name))
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		return n
	}
	return keepalive.Config{
		Idle:     time.Duration(read("tcp_keepalive_time")) * time.Second,
		Interval: time.Duration(read("tcp_keepalive_intvl")) * time.Second,
		Count:    read("tcp_keepalive_probes"),
	}
}

// MPTCPListen listens as [net.Listen] does by default.
func MPTCPListen(t testing.TB) net.Listener {
	t.Helper()
	netlab.SkipOn(t, netlab.GVisor, "it has no MPTCP")
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	ln := Listen(t, &lc, "tcp4")
	if Protocol(t, ln) != unix.IPPROTO_MPTCP {
		netlab.Skip(t, os.NewSyscallError("MPTCP", unix.EPROTONOSUPPORT))
	}
	return ln
}

// MPTCPDialer returns a dialer that asks for MPTCP.
func MPTCPDialer() *net.Dialer {
	d := new(net.Dialer)
	d.SetMultipathTCP(true)
	return d
}

// NeedMaxRTO skips a test where the kernel lacks TCP_RTO_MAX_MS, or this build
// can't set it.
func NeedMaxRTO(t testing.TB) {
	t.Helper()
	SkipUnsupported(t, keepalive.Config{MaxRTO: time.Second})
	netlab.SkipOn(t, netlab.GVisor, "it has no TCP_RTO_MAX_MS")
	netlab.SkipBefore(t, 6, 15, "TCP_RTO_MAX_MS")
}

// NeedTCPInfo skips a test where TCP_INFO does not say what is in flight.
func NeedTCPInfo(t testing.TB) {
	t.Helper()
	netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO has no counts")
	netlab.SkipOn(t, netlab.QemuUser, "it hands over 4 bytes of TCP_INFO")
}

// DialPair returns a connection that was dialed with the policy c, and its peer.
func DialPair(t testing.TB, c keepalive.Config) (conn, peer net.Conn) {
	t.Helper()
	return Pair(t, &keepalive.Dialer{Config: c}, PlainListen(t, "tcp4"))
}

// AcceptPair returns a connection that was accepted with the policy c, and its
// peer.
func AcceptPair(t testing.TB, c keepalive.Config) (conn, peer net.Conn) {
	t.Helper()
	peer, conn = Pair(t, new(net.Dialer), Listen(t, &keepalive.ListenConfig{Config: c}, "tcp4"))
	return conn, peer
}

// DialSilent is [DialPair] and [Silence].
func DialSilent(t testing.TB, c keepalive.Config) (conn net.Conn, since time.Time) {
	t.Helper()
	conn, peer := DialPair(t, c)
	return conn, Silence(t, conn, peer)
}

// Silence has both ends exchange a byte and silences peer. It returns a time just
// before conn received the last segment.
func Silence(t testing.TB, conn, peer net.Conn) (since time.Time) {
	t.Helper()
	netlab.SkipOn(t, netlab.GVisor, "it can't silence a peer")
	since = Exchange(t, conn, peer)
	AwaitAcked(t, conn, peer)
	netlab.MustSilence(t, syscallConn(peer))
	return since
}

// AwaitAcked waits until everything that was written to the connections is
// acknowledged.
func AwaitAcked(t testing.TB, conns ...net.Conn) {
	t.Helper()
	for _, conn := range conns {
		Await(t, "acknowledgements", func() (acked bool) {
			Control(t, conn, func(fd uintptr) {
				unacked, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) // tcp(7)
				require.NoError(t, err)
				acked = unacked == 0
			})
			return acked
		})
	}
}

// AssertOpenUntil reads until the deadline, and asserts that nothing has arrived
// and that the kernel has not ended the connection by then.
func AssertOpenUntil(t testing.TB, conn net.Conn, deadline time.Time) {
	t.Helper()
	conn.SetReadDeadline(deadline)
	_, err := conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	Control(t, conn, func(fd uintptr) {
		_, err := unix.Getpeername(int(fd))
		assert.NoError(t, err, "of an open connection")
	})
}

// AwaitProbes waits until so many probes of conn are out, and its silenced peer has
// dropped them. On a busy machine loopback delivers a segment late, and a peer that
// [netlab.Wake] has woken meanwhile answers it.
func AwaitProbes(t testing.TB, conn, peer net.Conn, n int) {
	t.Helper()
	Await(t, fmt.Sprint(n, " probes"), func() bool {
		probes := int(TCPInfo(t, conn).Probes)
		return probes >= n && drops(t, peer) >= probes
	})
}

// drops returns how many segments the kernel has dropped that arrived for a
// connection: SK_MEMINFO_DROPS of linux/sock_diag.h.
func drops(t testing.TB, conn net.Conn) int {
	t.Helper()
	const skMemInfoDrops, skMemInfoVars = 8, 9
	var info [skMemInfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	Control(t, conn, func(fd uintptr) {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		require.Zero(t, errno)
	})
	return int(info[skMemInfoDrops])
}
