package sockets

import (
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// An ending is an end of a connection that is no loss.
type ending struct {
	name  string
	end   End // with --resets, "" for none
	errno unix.Errno
	bring func(t *testing.T, conn, peer *net.TCPConn)
}

var endings = []ending{
	{"reset", PeerReset, unix.ECONNRESET, func(t *testing.T, conn, peer *net.TCPConn) {
		peer.SetLinger(0)
		peer.Close()
		assert.ErrorIs(t, tcptest.Read(conn), unix.ECONNRESET)
	}},
	{"reset after FIN", PeerReset, unix.EPIPE, func(t *testing.T, conn, peer *net.TCPConn) {
		require.NoError(t, peer.CloseWrite())
		assert.Error(t, tcptest.Read(conn))
		peer.SetLinger(0)
		peer.Close()
	}},
	{"FIN", "", 0, func(t *testing.T, conn, peer *net.TCPConn) {
		require.NoError(t, peer.CloseWrite())
		assert.Error(t, tcptest.Read(conn))
		require.NoError(t, conn.CloseWrite())
		assert.Error(t, tcptest.Read(peer))
	}},
	{"FIN, this side first", "", 0, func(t *testing.T, conn, peer *net.TCPConn) {
		require.NoError(t, conn.CloseWrite())
		assert.Error(t, tcptest.Read(peer))
		require.NoError(t, peer.CloseWrite())
		assert.Error(t, tcptest.Read(conn))
	}},
	{"close", "", 0, func(_ *testing.T, conn, _ *net.TCPConn) { conn.Close() }},
	{"close with SO_LINGER", "", 0, func(_ *testing.T, conn, peer *net.TCPConn) {
		conn.SetLinger(0)
		conn.Close()
		peer.Close()
	}},
	{"close with unread data", "", 0, func(t *testing.T, conn, peer *net.TCPConn) {
		require.NoError(t, tcptest.Write(peer))
		tcptest.AwaitAcked(t, peer)
		conn.Close()
	}},
	{"deadline of the program", "", 0, func(t *testing.T, conn, peer *net.TCPConn) {
		netlab.MustSilence(t, peer)
		conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		assert.ErrorIs(t, tcptest.Err(conn.Read(make([]byte, 1))), os.ErrDeadlineExceeded)
		conn.Close()
	}},
	{"a loss after close", "", 0, func(t *testing.T, conn, peer *net.TCPConn) {
		require.NoError(t, keepalive.Config{UserTimeout: 300 * time.Millisecond}.Apply(conn))
		netlab.MustSilence(t, peer)
		conn.Close()
	}},
	{"SOCK_DESTROY", Aborted, unix.ECONNABORTED, func(t *testing.T, conn, _ *net.TCPConn) {
		tcptest.Control(t, conn, func(fd uintptr) {
			namespaces := newNamespaces()
			defer namespaces.close()
			s := Socket{fd: int(fd), namespace: namespaces.own}
			_, err := s.identify()
			require.NoError(t, err)
			require.NoError(t, s.Destroy())
		})
	}},
}

// Other ends are no losses, and with others they are reported as what they are.
func TestOtherEnds(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	losses, others := watchLosses(t, RingSize, false), watchLosses(t, RingSize, true)
	namespace := lossNamespace(t)
	type key struct {
		remote string
		end    End
		errno  unix.Errno
		cause  Cause
	}
	want := make(map[key]string)
	ln := tcptest.PlainListen(t, "tcp4")
	for _, e := range endings {
		conn, peer := tcptest.Pair(t, new(net.Dialer), ln)
		wanted := key{conn.RemoteAddr().String() + conn.LocalAddr().String(), e.end, e.errno, ""}
		e.bring(t, conn.(*net.TCPConn), peer.(*net.TCPConn))
		if e.end != "" {
			want[wanted] = e.name
		}
	}
	_, err := net.Dial("tcp4", tcptest.Refused)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	connectInVain(t)

	var last []victim // some of which isBlind may miss
	for range 5 {
		v := newVictim(t, deaths[0], "tcp4", true)
		v.lose(t)
		last = append(last, v)
	}
	for _, v := range last {
		v.awaitError(t)
	}
	for _, l := range allIn(t, losses, len(last), namespace) {
		isLast := func(v victim) bool { return v.conn.LocalAddr().String() == l.Socket.Local.String() }
		assert.True(t, slices.ContainsFunc(last, isLast), "%+v", l)
	}

	got := make(map[key]bool)
	failed := make(map[unix.Errno]int)
	for done := false; !done; {
		for _, l := range nextIn(t, others, 1, namespace) {
			done = done || l.End == PeerLost
			if l.End == ConnectFailed {
				failed[l.Errno]++
			}
			got[key{l.Socket.Remote.String() + l.Socket.Local.String(), l.End, l.Errno, l.Cause}] = true
		}
	}
	for k, name := range want {
		assert.True(t, got[k], "%s: %v", name, k)
	}
	if !isBlind() {
		assert.Equal(t, map[unix.Errno]int{unix.ECONNREFUSED: 1, unix.ETIMEDOUT: 1}, failed)
	}
}

// connectInVain connects to a listener that has no room, until a user timeout.
func connectInVain(t *testing.T) {
	t.Helper()
	ln := newSocket(t)
	require.NoError(t, unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(ln, 0))
	address, err := unix.Getsockname(ln)
	require.NoError(t, err)
	require.NoError(t, unix.Connect(newSocket(t), address))
	fd := newSocket(t)
	require.NoError(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 500))
	assert.Equal(t, unix.ETIMEDOUT, unix.Connect(fd, address))
}
