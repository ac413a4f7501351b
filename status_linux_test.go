package keepalive_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// stat returns the status of conn. It skips the test where there is none, once it
// has asserted that Stat says so: qemu-user hands over a part of TCP_INFO.
func stat(t *testing.T, conn net.Conn) keepalive.Status {
	t.Helper()
	status, err := keepalive.Stat(conn)
	if tcptest.Portable || netlab.GVisor.Here() || tcptest.TCPInfoSize(t, conn) < 104 {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO has no counts")
		if tcptest.Portable {
			t.Skipf("package net: %v", err)
		}
		t.Skipf("qemu-user: %v", err)
	}
	require.NoError(t, err)
	return status
}

func TestStat(t *testing.T) {
	t.Parallel()
	conn, peer := tcptest.DialPair(t, keepalive.Config{Idle: time.Second})
	for _, end := range []net.Conn{conn, peer, tcptest.Wrap(conn)} {
		s := stat(t, end)
		assert.Positive(t, s.RTT)
		assert.Less(t, max(s.RTT, s.SinceReceived, s.SinceAck), 5*time.Second)
		assert.Equal(t, keepalive.Status{Open: true, SinceReceived: s.SinceReceived, SinceAck: s.SinceAck, RTT: s.RTT}, s)
	}

	since := tcptest.Silence(t, conn, peer)
	tcptest.Await(t, "an unanswered probe", func() bool { return stat(t, conn).Probes == 1 })
	tcptest.AssertWithin(t, since, time.Second-tcptest.Jiffy, 2*time.Second)
	s := stat(t, conn)
	assert.True(t, s.Suspect())
	assert.Zero(t, s.Unacked+s.Retransmits)
	assert.GreaterOrEqual(t, min(s.SinceReceived, s.SinceAck), time.Second-tcptest.Jiffy)

	conn, peer = tcptest.DialPair(t, keepalive.Config{})
	tcptest.Silence(t, conn, peer)
	require.NoError(t, tcptest.Write(conn))
	assert.Equal(t, 1, stat(t, conn).Unacked)
	tcptest.Await(t, "a retransmission", func() bool { return stat(t, conn).Retransmits == 1 })
	assert.True(t, stat(t, conn).Suspect())
}

func TestStatOfEnds(t *testing.T) {
	t.Parallel()
	awaitState := func(conn net.Conn, want uint8) {
		t.Helper()
		tcptest.Await(t, "the state", func() bool { return tcptest.TCPInfo(t, conn).State == want })
	}
	awaitClosed := func(conn net.Conn) {
		t.Helper()
		tcptest.Await(t, "the end", func() bool { return stat(t, conn) == keepalive.Status{} })
	}
	conn, peer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	assert.True(t, stat(t, conn).Open)
	require.NoError(t, peer.(*net.TCPConn).CloseWrite())
	awaitState(conn, unix.BPF_TCP_CLOSE_WAIT)
	awaitState(peer, unix.BPF_TCP_FIN_WAIT2)
	assert.True(t, stat(t, conn).Open)
	assert.True(t, stat(t, peer).Open)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	awaitClosed(conn)
	awaitClosed(peer)
	err := tcptest.Read(conn)
	assert.Equal(t, io.EOF, err)
	assert.False(t, keepalive.IsPeerLost(err))

	conn, peer = tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	require.NoError(t, peer.(*net.TCPConn).SetLinger(0))
	require.NoError(t, peer.Close())
	awaitClosed(conn)
	assert.NoError(t, tcptest.Quick.Apply(conn), "there is nothing left to probe")
	err = tcptest.Read(conn)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	assert.False(t, keepalive.IsPeerLost(err))

	conn.Close()
	_, err = keepalive.Stat(conn)
	assert.ErrorIs(t, err, net.ErrClosed)
	_, err = keepalive.Stat(tls.Client(conn, new(tls.Config)))
	assert.ErrorIs(t, err, net.ErrClosed)
}
