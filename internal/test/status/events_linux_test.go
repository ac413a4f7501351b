//go:build !keepalive_portable

package status

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// watchEnd returns an epoll instance that has conn, beside that of Go's runtime.
func watchEnd(t *testing.T, conn net.Conn) (epoll int) {
	t.Helper()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(epoll) })
	tcptest.Control(t, conn, func(fd uintptr) {
		event := &unix.EpollEvent{Events: unix.EPOLLERR | unix.EPOLLHUP | unix.EPOLLET, Fd: 7}
		require.NoError(t, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(fd), event))
		assert.Equal(t, unix.EEXIST, unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(fd), event))
	})
	return epoll
}

// awaitEvent returns the next event, or 0 if there is none in time.
func awaitEvent(t *testing.T, epoll int, timeout time.Duration) uint32 {
	t.Helper()
	events := make([]unix.EpollEvent, 1)
	for {
		n, err := unix.EpollWait(epoll, events, int(timeout.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		if n == 0 {
			return 0
		}
		assert.EqualValues(t, 7, events[0].Fd)
		return events[0].Events
	}
}

func socketError(t *testing.T, conn net.Conn) (err syscall.Errno) {
	t.Helper()
	tcptest.Control(t, conn, func(fd uintptr) { err = sockopt.TakeError(fd) })
	return err
}

// queued returns the bytes of memory that the send queue takes.
func queued(t *testing.T, conn net.Conn) uint32 {
	t.Helper()
	var info [9]uint32 // include/uapi/linux/sock_diag.h
	const wmemQueued = 5
	tcptest.Control(t, conn, func(fd uintptr) {
		size := unsafe.Sizeof(info)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		require.Zero(t, errno)
	})
	return info[wmemQueued]
}

const longest = 10 * time.Second

// A second epoll instance is told when a connection ends. SO_ERROR has the reason,
// and takes it.
func TestEventsOfAnEnd(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		conn, _ := tcptest.DialSilent(t, tcptest.Quick)
		epoll := watchEnd(t, conn)
		events := awaitEvent(t, epoll, longest)
		if events == unix.EPOLLERR {
			// Before Linux 6.10 the kernel reports the error first, and then ends
			// the connection.
			events |= awaitEvent(t, epoll, longest)
		}
		assert.EqualValues(t, unix.EPOLLERR|unix.EPOLLHUP, events)
		assert.Equal(t, syscall.ETIMEDOUT, socketError(t, conn))
		assert.Zero(t, socketError(t, conn))
		assert.Equal(t, io.EOF, tcptest.Read(conn))
	})
	t.Run("reset", func(t *testing.T) {
		t.Parallel()
		conn, peer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
		epoll := watchEnd(t, conn)
		peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
		assert.EqualValues(t, unix.EPOLLERR|unix.EPOLLHUP, awaitEvent(t, epoll, longest))
		assert.Equal(t, syscall.ECONNRESET, socketError(t, conn))
		assert.Equal(t, io.EOF, tcptest.Read(conn))
	})
	t.Run("both ends closed", func(t *testing.T) {
		t.Parallel()
		conn, peer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
		epoll := watchEnd(t, conn)
		tcptest.Exchange(t, conn, peer)
		peer.Close()
		assert.Zero(t, awaitEvent(t, epoll, 100*time.Millisecond), "of data and of one end")
		conn.(*net.TCPConn).CloseWrite()
		assert.EqualValues(t, unix.EPOLLHUP, awaitEvent(t, epoll, longest))
		assert.Zero(t, socketError(t, conn))
	})
	t.Run("duplicate", func(t *testing.T) {
		t.Parallel()
		conn, peer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
		epoll := watchEnd(t, conn)
		duplicate, err := conn.(*net.TCPConn).File()
		require.NoError(t, err)
		defer duplicate.Close()
		conn.Close()
		peer.(*net.TCPConn).SetLinger(0)
		peer.Close()
		assert.EqualValues(t, unix.EPOLLERR|unix.EPOLLHUP, awaitEvent(t, epoll, longest))
	})
}

// connect(2) to AF_UNSPEC ends a connection with a reset. It drops what is unsent and
// what is unread, and wakes Read and Write.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	netlab.SkipOn(t, netlab.GVisor, "its connect differs")
	disconnect := func(conn net.Conn) {
		tcptest.Control(t, conn, func(fd uintptr) { assert.NoError(t, sockopt.Disconnect(fd)) })
	}
	conn, peer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	results := make(chan error, 2)
	go func() { results <- tcptest.Read(conn) }()
	go func() { results <- tcptest.Err(io.Copy(conn, zero{})) }()
	tcptest.Await(t, "a closed window", func() bool {
		info := tcptest.TCPInfo(t, conn)
		return info.Unacked == 0 && info.Notsent_bytes > 0
	})
	assert.NotZero(t, queued(t, conn))
	disconnect(conn)
	for range cap(results) {
		assert.Error(t, awaitError(t, results))
	}
	assert.Zero(t, queued(t, conn))
	assert.ErrorIs(t, tcptest.Err(io.Copy(io.Discard, peer)), syscall.ECONNRESET)

	conn, peer = tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	require.NoError(t, tcptest.Write(peer))
	tcptest.AwaitAcked(t, peer)
	disconnect(conn)
	assert.ErrorIs(t, tcptest.Read(conn), syscall.ECONNRESET)
	assert.ErrorIs(t, tcptest.Read(conn), syscall.ENOTCONN)
	assert.ErrorIs(t, tcptest.Write(conn), syscall.EPIPE)
}
