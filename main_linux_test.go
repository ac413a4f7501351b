package keepalive_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	netlab.Main(m)
}

// options is what getsockopt says of a socket, in the kernel's units.
type options struct {
	Keepalive                          bool
	Idle, Interval, Count, UserTimeout int
}

// kernel reads the options of a connection or listener, not by way of Get.
func kernel(t testing.TB, socket any) options {
	t.Helper()
	return options{
		Keepalive:   sockopt(t, socket, unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 0,
		Idle:        sockopt(t, socket, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
		Interval:    sockopt(t, socket, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL),
		Count:       sockopt(t, socket, unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
		UserTimeout: sockopt(t, socket, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT),
	}
}

func sockopt(t testing.TB, socket any, level, opt int) (value int) {
	t.Helper()
	onFd(t, socket, func(fd int) {
		v, err := unix.GetsockoptInt(fd, level, opt)
		require.NoError(t, err)
		value = v
	})
	return value
}

func tcpInfo(t testing.TB, socket any) (info *unix.TCPInfo) {
	t.Helper()
	onFd(t, socket, func(fd int) {
		i, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		require.NoError(t, err)
		info = i
	})
	return info
}

func onFd(t testing.TB, socket any, f func(fd int)) {
	t.Helper()
	switch s := socket.(type) {
	case *tls.Conn:
		socket = s.NetConn()
	}
	rc, err := socket.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) { f(int(fd)) }))
}

// sysctls reads the system's defaults, not by way of SystemDefaults.
func sysctls(t testing.TB) options {
	t.Helper()
	read := func(name string) int {
		text, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4", name))
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		return n
	}
	return options{true, read("tcp_keepalive_time"), read("tcp_keepalive_intvl"), read("tcp_keepalive_probes"), 0}
}

// mptcpListen listens as net.Listen does by default.
func mptcpListen(t testing.TB) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	ln := listen(t, &lc, "tcp4")
	if sockopt(t, ln, unix.SOL_SOCKET, unix.SO_PROTOCOL) != unix.IPPROTO_MPTCP {
		netlab.Skip(t, os.NewSyscallError("MPTCP", unix.EPROTONOSUPPORT))
	}
	return ln
}

func mptcpDialer() *net.Dialer {
	d := new(net.Dialer)
	d.SetMultipathTCP(true)
	return d
}

// possible returns c without what the portable build can't set.
func possible(c keepalive.Config) keepalive.Config {
	if !native {
		c.UserTimeout = 0
	}
	return c
}

// refused reports whether this build can't set c, and asserts that it then says
// so on every path, before it has dialed or opened anything.
func refused(t testing.TB, c keepalive.Config) bool {
	t.Helper()
	if native || c.UserTimeout == 0 {
		return false
	}
	conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
	before := kernel(t, conn)
	dial := func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialed")
		return nil, net.ErrClosed
	}
	for path, err := range map[string]error{
		"Apply":        c.Apply(conn),
		"Control":      c.Control("tcp4", "", nil),
		"Dialer":       second((&keepalive.Dialer{Config: c}).Dial("tcp4", "127.0.0.1:1")),
		"ListenConfig": second((&keepalive.ListenConfig{Config: c}).Listen(t.Context(), "tcp4", "192.0.2.1:1")),
		"WrapDial":     second(c.WrapDial(dial)(t.Context(), "tcp4", "")),
		"NewListener":  second(keepalive.NewListener(plainListen(t, "tcp4"), c)),
	} {
		assert.EqualError(t, err, "keepalive: TCP_USER_TIMEOUT on linux: unsupported operation", path)
		assert.ErrorIs(t, err, errors.ErrUnsupported, path)
	}
	assert.Equal(t, before, kernel(t, conn))
	return true
}

// held is what Get returns, and in the portable build, where that is an error,
// what it would return. It works on MPTCP sockets as well.
func held(t testing.TB, conn net.Conn) keepalive.Config {
	t.Helper()
	c, err := keepalive.Get(conn)
	if native {
		require.NoError(t, err)
		return c
	}
	assert.EqualError(t, err, "keepalive: getsockopt TCP_KEEPIDLE on linux: unsupported operation")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	return keepalive.Config{
		Disable:  sockopt(t, conn, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0,
		Idle:     time.Duration(sockopt(t, conn, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)) * time.Second,
		Interval: time.Duration(sockopt(t, conn, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)) * time.Second,
		Count:    sockopt(t, conn, unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
	}
}

// settled waits until neither end has anything in flight.
func settled(t testing.TB, conns ...net.Conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, c := range conns {
			if info := tcpInfo(t, c); info.Unacked != 0 || info.Notsent_bytes != 0 {
				return false
			}
		}
		return true
	}, 5*time.Second, time.Millisecond)
}

// assertHolds asserts that the kernel holds c, all of whose timing is set.
func assertHolds(t testing.TB, c keepalive.Config, socket any) {
	t.Helper()
	assert.Equal(t, options{!c.Disable, int(c.Idle.Seconds()), int(c.Interval.Seconds()), c.Count, int(c.UserTimeout.Milliseconds())}, kernel(t, socket))
}
