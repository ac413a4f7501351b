//go:build !keepalive_portable

package status

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
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

func stat(t testing.TB, conn net.Conn) keepalive.Status {
	t.Helper()
	s, err := keepalive.Stat(conn)
	require.NoError(t, err)
	return s
}

// awaitStatus polls the status of conn until it is as wanted, and returns it.
func awaitStatus(t testing.TB, conn net.Conn, what string, wanted func(keepalive.Status) bool) (s keepalive.Status) {
	t.Helper()
	tcptest.Await(t, what, func() bool {
		s = stat(t, conn)
		return wanted(s)
	})
	return s
}

func isClosed(s keepalive.Status) bool { return !s.Open }

func TestStatFreshAndIdle(t *testing.T) {
	t.Parallel()
	began, opened := time.Now(), tcptest.KernelTime(t)
	conn, peer := tcptest.DialPair(t, tcptest.Quick)
	for _, end := range []net.Conn{conn, peer} {
		s := stat(t, end)
		age := tcptest.KernelTime(t) - opened + tcptest.Jiffy
		assert.Positive(t, s.RTT)
		assert.Less(t, s.RTT, time.Since(began))
		assert.Less(t, s.SinceReceived, age)
		assert.Less(t, s.SinceAck, age)
		assert.Equal(t, keepalive.Status{Open: true, SinceReceived: s.SinceReceived, SinceAck: s.SinceAck, RTT: s.RTT}, s)
		assert.False(t, s.Suspect())
	}

	since := tcptest.KernelTime(t)
	tcptest.Exchange(t, conn, peer)
	tcptest.AwaitAcked(t, conn, peer)
	acked := stat(t, peer)
	s := awaitStatus(t, conn, "been idle for 2 s, and no probe on its way", func(s keepalive.Status) bool {
		return s.SinceReceived >= 2*time.Second && s.SinceAck < time.Second
	})
	// The byte may have arrived after since, and both clocks tick.
	assert.GreaterOrEqual(t, tcptest.KernelTime(t)-since, 2*time.Second-tcptest.Jiffy)
	assert.True(t, s.Open, "the answer to a probe was an acknowledgement")
	assert.False(t, s.Suspect())
	s = stat(t, peer)
	assert.InDelta(t, acked.SinceReceived-acked.SinceAck, s.SinceReceived-s.SinceAck, float64(2*tcptest.Jiffy), "the peer sends no probes")
	assert.False(t, s.Suspect())
}

func TestStatCountsProbes(t *testing.T) {
	t.Parallel()
	conn, since := tcptest.DialSilent(t, tcptest.Quick)
	var seen []int
	suspect := false
	awaitStatus(t, conn, "ended", func(s keepalive.Status) bool {
		if s.Open && (len(seen) == 0 || seen[len(seen)-1] != s.Probes) {
			seen = append(seen, s.Probes)
		}
		suspect = suspect || s.Suspect()
		assert.Equal(t, s.Probes > 0, s.Suspect())
		assert.Zero(t, s.Retransmits+s.Unacked)
		return isClosed(s)
	})
	tcptest.AssertWithin(t, since, 4*time.Second, 4500*time.Millisecond)
	// A machine that stalls for a second shows one count less.
	assert.IsIncreasing(t, seen)
	assert.Subset(t, []int{0, 1, 2, 3}, seen)
	assert.GreaterOrEqual(t, len(seen), 3)
	assert.True(t, suspect, "before the kernel gives up")
	assert.Equal(t, keepalive.Status{}, stat(t, conn))
	assert.False(t, stat(t, conn).Suspect())

	// None of that has consumed the error, which comes once.
	err := tcptest.Read(conn)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.True(t, keepalive.IsPeerLost(err))
	assert.Equal(t, io.EOF, tcptest.Read(conn))
	assert.ErrorIs(t, tcptest.Write(conn), syscall.EPIPE)
	assert.Equal(t, keepalive.Status{}, stat(t, conn))
}

func TestStatOfPeerThatComesBack(t *testing.T) {
	t.Parallel()
	conn, peer := tcptest.DialPair(t, keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 9})
	tcptest.Silence(t, conn, peer)
	awaitStatus(t, conn, "two probes", func(s keepalive.Status) bool { return s.Probes >= 2 && s.Suspect() })
	require.NoError(t, netlab.Wake(peer.(*net.TCPConn)))
	s := awaitStatus(t, conn, "an answer", func(s keepalive.Status) bool { return !s.Suspect() })
	assert.True(t, s.Open)
	assert.Zero(t, s.Probes)
	assert.Less(t, s.SinceAck, time.Second)
	assert.Greater(t, s.SinceReceived, time.Second, "no data came with it")
	tcptest.Exchange(t, conn, peer)
}

func TestStatOfDataInFlight(t *testing.T) {
	t.Parallel()
	due := tcptest.Quick
	due.Idle = 2 * time.Second // before the fourth retransmission, after about 3 s
	for _, c := range []keepalive.Config{due, {Disable: true}} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			conn, peer := tcptest.DialPair(t, c)
			tcptest.Silence(t, conn, peer)
			require.NoError(t, tcptest.Write(conn))
			s := awaitStatus(t, conn, "data in flight", func(s keepalive.Status) bool { return s.Unacked == 1 })
			assert.True(t, s.Open)
			for n := 1; n <= 4; n++ {
				s = awaitStatus(t, conn, "a further retransmission", func(s keepalive.Status) bool { return s.Retransmits >= n })
				assert.True(t, s.Suspect())
				assert.Equal(t, 1, s.Unacked)
				assert.Zero(t, s.Probes, "none while data is in flight")
			}
			require.NoError(t, netlab.Wake(peer.(*net.TCPConn)))
			require.NoError(t, tcptest.Read(peer))
			s = awaitStatus(t, conn, "the acknowledgement", func(s keepalive.Status) bool { return s.Unacked == 0 })
			assert.Zero(t, s.Retransmits)
			assert.False(t, s.Suspect())
		})
	}
}

func TestStatWithoutKeepalive(t *testing.T) {
	t.Parallel()
	c := tcptest.Quick
	c.Disable = true
	conn, _ := tcptest.DialSilent(t, c)
	s := awaitStatus(t, conn, "been idle for 3 s", func(s keepalive.Status) bool { return s.SinceReceived >= 3*time.Second })
	assert.Greater(t, s.SinceAck, 2500*time.Millisecond)
	assert.True(t, s.Open)
	assert.False(t, s.Suspect(), "nothing was sent")
}

// The kernel does not say since when a connection is open that both ends have
// opened. SinceHeard does not depend on it.
func TestStatOfSimultaneousOpen(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t) // the port is free
	own := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	began := tcptest.KernelTime(t)
	conn, err := (&net.Dialer{LocalAddr: own}).Dial("tcp4", own.String()) // its own peer
	require.NoError(t, err)
	defer conn.Close()
	s := stat(t, conn)
	assert.True(t, s.Open)
	assert.LessOrEqual(t, s.SinceHeard(), tcptest.KernelTime(t)-began+tcptest.Jiffy)
	require.NoError(t, tcptest.Write(conn))
	require.NoError(t, tcptest.Read(conn))
	assert.LessOrEqual(t, stat(t, conn).SinceReceived, tcptest.KernelTime(t)-began+tcptest.Jiffy)
}

// A peer that is there but does not read is no suspect, although the kernel's
// count of probes goes up and down: where a snapshot shows one, the answer is on
// its way, and takes no further probe.
func TestStatOfStoppedReader(t *testing.T) {
	t.Parallel()
	conn, peer := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	var err error
	tcptest.Await(t, "a closed window", func() bool {
		conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, err = conn.Write(make([]byte, 8<<20))
		info := tcptest.TCPInfo(t, conn)
		return err != nil && info.Unacked == 0 && info.Notsent_bytes > 0
	})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.False(t, keepalive.IsPeerLost(err))

	for range 3 {
		last := time.Duration(0)
		awaitStatus(t, conn, "answered a zero-window probe", func(s keepalive.Status) bool {
			require.True(t, s.Open)
			if s.Suspect() {
				sent := tcptest.TCPInfo(t, conn).Backoff
				awaitStatus(t, conn, "the answer", func(s keepalive.Status) bool { return !s.Suspect() })
				require.Equal(t, sent, tcptest.TCPInfo(t, conn).Backoff, "%+v", s)
				return true
			}
			answered := s.SinceAck < last
			last = s.SinceAck
			return answered
		})
	}

	netlab.MustSilence(t, peer.(*net.TCPConn))
	s := awaitStatus(t, conn, "unanswered zero-window probes", func(s keepalive.Status) bool { return s.Probes > 0 })
	assert.True(t, s.Suspect())
}

// Data that acknowledges nothing new does not reset the kernel's count, where it
// goes the fast path of tcp_rcv_established. That also depends on how much
// memory is charged to the socket, hence several connections.
func TestStatOfDataAfterLostProbe(t *testing.T) {
	t.Parallel()
	ln := tcptest.PlainListen(t, "tcp4")
	d := &keepalive.Dialer{Config: keepalive.Config{Disable: true}}
	conns, peers := make([]net.Conn, 8), make([]net.Conn, 8)
	for i := range conns {
		conns[i], peers[i] = tcptest.Pair(t, d, ln)
		for range i + 1 { // none of which is read
			require.NoError(t, tcptest.Write(peers[i]))
			tcptest.AwaitAcked(t, peers[i])
		}
		netlab.MustSilence(t, peers[i].(*net.TCPConn))
		// A probe that was answered would be followed by one a minute later.
		require.NoError(t, keepalive.Config{Idle: time.Second, Interval: time.Minute, Count: 9}.Apply(conns[i]))
	}
	counted := 0
	for i, conn := range conns {
		assert.True(t, awaitStatus(t, conn, "a probe", func(s keepalive.Status) bool { return s.Probes == 1 }).Suspect())
		tcptest.AwaitProbes(t, conn, peers[i], 1)
		require.NoError(t, netlab.Wake(peers[i].(*net.TCPConn)))
		// The answer counts for a second, for which a machine may stall.
		tcptest.Await(t, "a status without the probe", func() bool {
			require.NoError(t, tcptest.Write(peers[i]))
			tcptest.AwaitAcked(t, peers[i])
			counted += int(tcptest.TCPInfo(t, conn).Probes)
			s := stat(t, conn)
			return s.Probes == 0 && !s.Suspect()
		})
	}
	assert.Positive(t, counted, "if this fails, the kernel has changed")
}

func TestStatThroughTLS(t *testing.T) {
	t.Parallel()
	server, client := tcptest.TLSConfigs(t)
	inner, peer := tcptest.DialPair(t, tcptest.Quick)
	conn := tls.Client(inner, client)
	tcptest.Silence(t, conn, tls.Server(peer, server))
	assert.True(t, stat(t, conn).Open)
	assert.True(t, awaitStatus(t, tcptest.Wrap(conn), "a probe", func(s keepalive.Status) bool { return s.Probes > 0 }).Suspect())
	awaitStatus(t, conn, "ended", isClosed)
	err := tcptest.Read(conn)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.True(t, keepalive.IsPeerLost(err))
	assert.False(t, keepalive.IsPeerLost(tcptest.Read(conn)))
}

func TestPeerLostWithDataInFlight(t *testing.T) {
	t.Parallel()
	c := tcptest.Quick
	c.UserTimeout = 2 * time.Second
	for name, end := range map[string]func(net.Conn) error{"Read": tcptest.Read, "Write": tcptest.Write} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, _ := tcptest.DialSilent(t, c)
			require.NoError(t, tcptest.Write(conn))
			assert.True(t, awaitStatus(t, conn, "a retransmission", func(s keepalive.Status) bool { return s.Retransmits > 0 }).Suspect())
			awaitStatus(t, conn, "ended", isClosed)
			err := end(conn)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			assert.True(t, keepalive.IsPeerLost(err))
			assert.False(t, keepalive.IsPeerLost(end(conn)), "it comes once")
		})
	}
}

// With data in flight the kernel gives the reason that the path gave, if any.
func TestPeerLostWithItsPath(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	forgotten := func(t *testing.T, l *netlab.Lab, conn net.Conn) {
		l.Forget(t)
		require.NoError(t, tcptest.Write(conn))
	}
	policy := keepalive.Config{UserTimeout: 2 * time.Second}
	noRoute := func(t *testing.T, l *netlab.Lab, conn net.Conn) {
		// A slow machine may take longer than UserTimeout to take the route away.
		require.NoError(t, keepalive.Config{}.Apply(conn))
		l.Block(t)
		require.NoError(t, tcptest.Write(conn))
		l.Client.LinkDown(t)
		earlier := stat(t, conn).Retransmits
		awaitStatus(t, conn, "a retransmission without a route", func(s keepalive.Status) bool { return s.Retransmits > earlier })
		require.NoError(t, policy.Apply(conn))
	}
	localRoute := func(kind string) func(*testing.T, *netlab.Lab, net.Conn) {
		return func(t *testing.T, l *netlab.Lab, conn net.Conn) {
			var out []byte
			var err error
			l.Client.Do(func() { out, err = exec.Command("ip", "route", "add", kind, l.Server.IPv6).CombinedOutput() })
			require.NoError(t, err, "%s", out)
			require.NoError(t, tcptest.Write(conn))
		}
	}
	for _, tt := range []struct {
		name, network string
		unknown       netlab.Answer
		fail          func(*testing.T, *netlab.Lab, net.Conn)
		want          syscall.Errno
		lost          bool
	}{
		{"dropped", "tcp4", netlab.Drop, forgotten, syscall.ETIMEDOUT, true},
		{"host unreachable", "tcp4", netlab.Unreachable, forgotten, syscall.EHOSTUNREACH, true},
		{"address unreachable", "tcp6", netlab.Unreachable, forgotten, syscall.EHOSTUNREACH, true},
		{"no route", "tcp4", netlab.Drop, noRoute, syscall.ENETUNREACH, true},
		{"port unreachable", "tcp4", "reject", forgotten, syscall.ECONNREFUSED, true},
		{"port unreachable", "tcp6", "reject", forgotten, syscall.ECONNREFUSED, true},
		{"prohibited", "tcp4", "reject with icmpx type admin-prohibited", forgotten, syscall.EHOSTUNREACH, true},
		{"prohibited", "tcp6", "reject with icmpx type admin-prohibited", forgotten, syscall.EACCES, true},
		{"prohibited here", "tcp6", netlab.Drop, localRoute("prohibit"), syscall.EACCES, true},
		{"blackhole here", "tcp6", netlab.Drop, localRoute("blackhole"), syscall.EINVAL, true},
		{"reset", "tcp4", netlab.Reset, forgotten, syscall.ECONNRESET, false},
	} {
		t.Run(tt.name+" "+tt.network, func(t *testing.T) {
			t.Parallel()
			l := netlab.NewLab(t, netlab.Rules{Unknown: tt.unknown})
			d := &keepalive.Dialer{Config: policy}
			conn, peer := tcptest.Pair(t, tcptest.DialFunc(l.Client.Within(d.DialContext)), l.Server.Listen(t, new(keepalive.ListenConfig), tt.network, 0))
			tcptest.Exchange(t, conn, peer)
			tcptest.AwaitAcked(t, conn, peer)
			tt.fail(t, l, conn)
			awaitStatus(t, conn, "ended", isClosed)
			err := tcptest.Read(conn)
			assert.ErrorIs(t, err, tt.want)
			assert.Equal(t, tt.lost, keepalive.IsPeerLost(err))
			assert.Equal(t, io.EOF, tcptest.Read(conn))
		})
	}
}

// The same errors of other calls, and of other networks, say nothing of a peer.
func TestPeerNotLostByOtherCalls(t *testing.T) {
	t.Parallel()
	not := func(err error, is syscall.Errno) {
		t.Helper()
		assert.ErrorIs(t, err, is)
		assert.False(t, keepalive.IsPeerLost(err), "%v", err)
	}
	not(tcptest.Err(net.Dial("tcp4", tcptest.Refused)), syscall.ECONNREFUSED)

	udp, err := net.Dial("udp4", tcptest.Refused)
	require.NoError(t, err)
	defer udp.Close()
	require.NoError(t, tcptest.Write(udp))
	not(tcptest.Read(udp), syscall.ECONNREFUSED)

	mptcp, _ := tcptest.Pair(t, tcptest.MPTCPDialer(), tcptest.MPTCPListen(t))
	not(keepalive.Config{UserTimeout: time.Second}.Apply(mptcp), syscall.ENOPROTOOPT)
}

func TestMPTCPPeerLost(t *testing.T) {
	t.Parallel()
	tcptest.MPTCPListen(t) // skips where there is none
	netlab.SkipBefore(t, 6, 7, "net.mptcp.close_timeout")
	l := netlab.NewLab(t, netlab.Rules{})
	l.Client.Sysctl(t, "net.mptcp.close_timeout", "2")
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	d := &keepalive.Dialer{NetDialer: tcptest.MPTCPDialer(), Config: tcptest.Quick}
	conn, peer := tcptest.Pair(t, tcptest.DialFunc(l.Client.Within(d.DialContext)), l.Server.Listen(t, &lc, "tcp4", 0))
	require.Equal(t, unix.IPPROTO_MPTCP, tcptest.Protocol(t, conn))
	tcptest.Exchange(t, conn, peer)
	s := stat(t, conn)
	assert.True(t, s.Open)
	assert.Positive(t, s.RTT)
	assert.False(t, s.Suspect())
	lost, losses := listen()
	watched := keepalive.Watch(conn, lost)

	tcptest.AwaitAcked(t, conn, peer)
	l.Block(t)
	assert.True(t, awaitStatus(t, conn, "a probe", func(s keepalive.Status) bool { return s.Probes > 0 }).Suspect())
	awaitStatus(t, conn, "ended", isClosed)
	subflow := time.Now()
	assert.Equal(t, keepalive.Status{}, stat(t, conn))

	// The connection outlives its subflow by close_timeout.
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	err := tcptest.Read(conn)
	tcptest.AssertWithin(t, subflow, time.Second, 10*time.Second)
	assert.ErrorIs(t, err, syscall.ENOTCONN)
	assert.True(t, keepalive.IsPeerLost(err))

	copied, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	err = tcptest.Err(io.Copy(copied, watched)) // by splice(2)
	assert.Len(t, losses, 1)
	assert.ErrorContains(t, err, "splice: ")
	assert.ErrorIs(t, err, syscall.ENOTCONN)
	assert.True(t, keepalive.IsPeerLost(err))

	err = conn.(*net.TCPConn).CloseWrite()
	assert.ErrorIs(t, err, syscall.ENOTCONN)
	assert.False(t, keepalive.IsPeerLost(err), "shutdown says so of any ended connection")
}

func TestMPTCPReset(t *testing.T) {
	t.Parallel()
	conn, peer := tcptest.Pair(t, tcptest.MPTCPDialer(), tcptest.MPTCPListen(t))
	tcptest.Exchange(t, conn, peer)
	require.NoError(t, peer.(*net.TCPConn).SetLinger(0))
	require.NoError(t, peer.Close())
	for err := tcptest.Read(conn); err != io.EOF; err = tcptest.Read(conn) {
		require.ErrorIs(t, err, syscall.ECONNRESET)
		assert.False(t, keepalive.IsPeerLost(err))
	}
	assert.Equal(t, keepalive.Status{}, stat(t, conn))
}
