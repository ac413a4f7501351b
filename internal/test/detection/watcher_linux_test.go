//go:build !keepalive_portable

package detection

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
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

// noKeepalive leaves data in flight to Watcher.
var noKeepalive = &keepalive.Dialer{Config: keepalive.Config{Disable: true}}

// A loss is what Watcher.Lost was called with.
type loss struct {
	conn net.Conn
	err  error
	at   time.Time
}

// limit watches conn, and returns the losses.
func limit(t *testing.T, conn net.Conn, unacked time.Duration) (net.Conn, chan loss) {
	t.Helper()
	tcptest.NeedTCPInfo(t)
	losses := make(chan loss, 2)
	w := keepalive.Watcher{Unacked: unacked, Lost: func(conn net.Conn, err error) { losses <- loss{conn, err, time.Now()} }}
	watched, err := w.Watch(conn)
	require.NoError(t, err)
	return watched, losses
}

// assertGivenUp waits for the loss, which has to come within a time.
func assertGivenUp(t *testing.T, conn net.Conn, losses chan loss, unacked time.Duration, since time.Time, most time.Duration) {
	t.Helper()
	select {
	case l := <-losses:
		tcptest.AssertBetween(t, since, l.at, unacked, most)
		assert.True(t, conn == l.conn)
		assert.True(t, keepalive.IsPeerLost(l.err))
		assert.ErrorIs(t, l.err, syscall.ETIMEDOUT)
		assert.ErrorContains(t, l.err, fmt.Sprintf("keepalive gave up the peer, which left data unanswered for %v: connection timed out", unacked))
		for range 3 {
			assert.Equal(t, l.err, tcptest.Err(conn.Read(make([]byte, 1))))
			assert.Equal(t, l.err, tcptest.Err(conn.Write(make([]byte, 1))))
		}
	case <-time.After(most + 20*time.Second):
		t.Error("was not given up")
	}
}

// most is when a peer is given up at the latest whose last answer took no time: the
// real retransmissions follow the data after 0.2, 0.6, 1.4, 3, 6.2 and 12.6 s.
func most(unacked time.Duration) time.Duration {
	const late = 500 * time.Millisecond
	for at := 200 * time.Millisecond; ; at = 2*at + 200*time.Millisecond {
		if at >= unacked+unacked/8+200*time.Millisecond {
			return at*9/8 + unacked/4 + 200*time.Millisecond + late
		}
	}
}

func TestUnackedGivesUpADeadPeer(t *testing.T) {
	t.Parallel()
	for _, unacked := range []time.Duration{time.Second, 2500 * time.Millisecond, 5 * time.Second} {
		t.Run(unacked.String(), func(t *testing.T) {
			t.Parallel()
			conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
			tcptest.Exchange(t, conn, peer)
			tcptest.AwaitAcked(t, conn, peer)
			watched, losses := limit(t, conn, unacked)
			netlab.MustSilence(t, peer.(*net.TCPConn))
			since := time.Now()
			require.NoError(t, tcptest.Write(watched))
			assertGivenUp(t, watched, losses, unacked, since, most(unacked))
		})
	}
}

// Calls that are under way return the error, and what is unsent is dropped.
func TestUnackedEndsTheConnection(t *testing.T) {
	t.Parallel()
	conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
	tcptest.Exchange(t, conn, peer)
	watched, losses := limit(t, conn, time.Second)
	dropAll(t, peer)
	results := make(chan error, 3)
	go func() { results <- tcptest.Err(watched.Read(make([]byte, 1))) }()
	go func() { results <- tcptest.Err(io.Copy(watched, zeros{})) }()
	go func() { results <- tcptest.Err(io.Copy(io.Discard, watched)) }()
	for range cap(results) {
		err := <-results
		assert.True(t, keepalive.IsPeerLost(err), "%v", err)
		assert.ErrorContains(t, err, "keepalive gave up")
	}
	assert.Len(t, losses, 1)
	assert.Equal(t, uint8(unix.BPF_TCP_CLOSE), tcptest.TCPInfo(t, conn).State)
	assert.NoError(t, watched.Close())
	assert.ErrorIs(t, tcptest.Err(watched.Read(make([]byte, 1))), net.ErrClosed)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// A Read that waits below TLS is woken.
func TestUnackedOverTLS(t *testing.T) {
	t.Parallel()
	server, client := tcptest.TLSConfigs(t)
	dialed, accepted := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
	inner, peer := tls.Client(dialed, client), tls.Server(accepted, server)
	go peer.Handshake()
	require.NoError(t, inner.Handshake())
	require.NoError(t, tcptest.Err(inner.Write([]byte("x"))))
	require.NoError(t, tcptest.Err(peer.Read(make([]byte, 1))))
	watched, losses := limit(t, inner, time.Second)
	read := make(chan error, 1)
	go func() { read <- tcptest.Err(watched.Read(make([]byte, 1))) }()
	netlab.MustSilence(t, accepted.(*net.TCPConn))
	since := time.Now()
	require.NoError(t, tcptest.Err(watched.Write([]byte("x"))))
	assertGivenUp(t, watched, losses, time.Second, since, most(time.Second))
	assert.ErrorContains(t, <-read, "keepalive gave up")
}

// A handshake that a Read begins is data in flight.
func TestUnackedOfAHandshake(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]func(net.Conn) error{
		"Read":    tcptest.Read,
		"WriteTo": func(conn net.Conn) error { return tcptest.Err(io.Copy(io.Discard, conn)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dialed, accepted := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
			tcptest.Exchange(t, dialed, accepted)
			tcptest.AwaitAcked(t, dialed, accepted)
			netlab.MustSilence(t, accepted.(*net.TCPConn))
			watched, losses := limit(t, tls.Client(dialed, &tls.Config{InsecureSkipVerify: true}), time.Second)
			time.Sleep(500 * time.Millisecond) // by now nothing is looked at
			since := time.Now()
			watched.SetDeadline(since.Add(time.Minute))
			assert.ErrorContains(t, read(watched), "keepalive gave up")
			assert.Len(t, losses, 1)
			tcptest.AssertWithin(t, since, time.Second, most(time.Second))
		})
	}
}

// A connection by TCP Fast Open, which is watched before it is established, has a peer
// to give up.
func TestUnackedOfAFastOpen(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_fastopen", "1029") // TFO_CLIENT_ENABLE | TFO_CLIENT_NO_COOKIE | TFO_SERVER_WO_SOCKOPT1
	ln := tcptest.PlainListen(t, "tcp4")
	d := &keepalive.Dialer{Config: noKeepalive.Config, NetDialer: &net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		tcptest.SetsockoptInt(t, tcptest.RawSocket{RawConn: rc}, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
		return nil
	}}}
	conn := tcptest.Dial(t, d, ln)
	watched, losses := limit(t, conn, time.Second)
	require.NoError(t, tcptest.Write(watched))
	peer := tcptest.Accept(t, ln)
	require.NoError(t, tcptest.Read(peer))
	tcptest.AwaitAcked(t, conn)
	netlab.MustSilence(t, peer.(*net.TCPConn))
	since := time.Now()
	require.NoError(t, tcptest.Write(watched))
	assertGivenUp(t, watched, losses, time.Second, since, most(time.Second))
}

// A Read may send data late, as a server's handshake does. Such data is in flight too.
func TestUnackedOfALateHandshake(t *testing.T) {
	t.Parallel()
	dialed, accepted := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
	tcptest.Exchange(t, dialed, accepted)
	tcptest.AwaitAcked(t, dialed, accepted)
	netlab.MustSilence(t, accepted.(*net.TCPConn))
	const late = 600 * time.Millisecond
	watched, losses := limit(t, lateSender{dialed.(*net.TCPConn), late}, time.Second)
	since := time.Now()
	assert.ErrorContains(t, tcptest.Read(watched), "keepalive gave up")
	assert.Len(t, losses, 1)
	tcptest.AssertWithin(t, since, late+time.Second, late+500*time.Millisecond+most(time.Second))
}

// lateSender is a connection whose Read waits, sends and reads.
type lateSender struct {
	*net.TCPConn
	wait time.Duration
}

func (c lateSender) Read(b []byte) (int, error) {
	time.Sleep(c.wait)
	if _, err := c.Write([]byte("x")); err != nil {
		return 0, err
	}
	return c.TCPConn.Read(b)
}

// A FIN is in flight like data, and a peer that has closed its end can be lost.
func TestUnackedOfAHalfClosedConnection(t *testing.T) {
	t.Parallel()
	type closeWriter interface{ CloseWrite() error }
	for name, act := range map[string]func(conn, peer net.Conn) error{
		"this end is closed": func(conn, peer net.Conn) error {
			netlab.MustSilence(t, peer.(*net.TCPConn))
			return conn.(closeWriter).CloseWrite()
		},
		"the peer has closed": func(conn, peer net.Conn) error {
			peer.(closeWriter).CloseWrite()
			tcptest.AwaitAcked(t, peer)
			netlab.MustSilence(t, peer.(*net.TCPConn))
			return tcptest.Write(conn)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
			tcptest.Exchange(t, conn, peer)
			tcptest.AwaitAcked(t, conn, peer)
			watched, losses := limit(t, conn, time.Second)
			since := time.Now()
			require.NoError(t, act(watched, peer))
			assertGivenUp(t, watched, losses, time.Second, since, most(time.Second)+200*time.Millisecond)
		})
	}
	t.Run("the peer answers", func(t *testing.T) {
		t.Parallel()
		conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
		watched, losses := limit(t, conn, time.Second)
		require.NoError(t, watched.(closeWriter).CloseWrite())
		assert.Equal(t, io.EOF, tcptest.Read(peer))
		tcptest.AssertOpenUntil(t, conn, time.Now().Add(4*time.Second))
		require.NoError(t, tcptest.Write(peer))
		assert.NoError(t, tcptest.Read(watched))
		assert.Empty(t, losses)
	})
}

// A live peer that reads nothing for long, reads slowly, or pauses twice, is spared.
func TestUnackedSparesSlowReaders(t *testing.T) {
	t.Parallel()
	const unacked = time.Second
	for name, pauses := range map[string][]time.Duration{
		"stops for long": {10 * time.Second},
		"pauses twice":   {1500 * time.Millisecond, 1500 * time.Millisecond},
		"reads slowly":   {time.Second, time.Second, time.Second, time.Second, time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
			watched, losses := limit(t, conn, unacked)
			const most = 8 << 20
			var written atomic.Int64
			done := make(chan error, 1)
			go func() {
				n, err := io.Copy(watched, io.LimitReader(zeros{}, most))
				written.Store(n)
				watched.(interface{ CloseWrite() error }).CloseWrite()
				done <- err
			}()
			for _, pause := range pauses {
				// What a peer reads leaves the window closed, until the next pause.
				time.Sleep(pause)
				peer.SetDeadline(time.Now().Add(time.Minute))
				require.NoError(t, tcptest.Err(io.CopyN(io.Discard, peer, 1<<16)))
			}
			rest, err := io.Copy(io.Discard, peer)
			require.NoError(t, err)
			require.NoError(t, <-done)
			assert.EqualValues(t, most, rest+int64(len(pauses))<<16)
			assert.Empty(t, losses)
		})
	}
}

// A peer that stops reading and then falls silent is given up once three probes of
// the closed window are unanswered.
func TestUnackedGivesUpASilentSlowReader(t *testing.T) {
	t.Parallel()
	const unacked = time.Second
	conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
	watched, losses := limit(t, conn, unacked)
	go io.Copy(watched, zeros{})
	tcptest.Await(t, "a closed window", func() bool {
		info := tcptest.TCPInfo(t, conn)
		return info.Unacked == 0 && info.Notsent_bytes > 0
	})
	dropAll(t, peer)
	since := time.Now()
	assertGivenUp(t, watched, losses, unacked, since, 20*time.Second)
}

// A peer that comes back before the last retransmission is spared, and gets all of
// the data.
func TestUnackedSparesAPeerThatComesBack(t *testing.T) {
	t.Parallel()
	const unacked = 2500 * time.Millisecond
	conn, peer := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
	tcptest.Exchange(t, conn, peer)
	tcptest.AwaitAcked(t, conn, peer)
	watched, losses := limit(t, conn, unacked)
	for range 2 {
		netlab.MustSilence(t, peer.(*net.TCPConn))
		require.NoError(t, tcptest.Write(watched))
		// The third one comes after 1.4 s, and the next one after 3 s.
		tcptest.Await(t, "retransmissions", func() bool { return tcptest.TCPInfo(t, conn).Retransmits >= 3 })
		require.NoError(t, netlab.Wake(peer.(*net.TCPConn)))
		require.NoError(t, tcptest.Read(peer))
		tcptest.AwaitAcked(t, conn)
	}
	tcptest.AssertOpenUntil(t, conn, time.Now().Add(2*unacked))
	assert.Empty(t, losses)
}

// addressOfPeer is where a child process connects to.
const addressOfPeer = "KEEPALIVE_TEST_ADDRESS"

// A process that is stopped while its peer is silent gives up no peer that is back
// when it goes on, however long it was stopped.
func TestUnackedOfAStoppedProcess(t *testing.T) {
	if address := os.Getenv(addressOfPeer); address != "" {
		writeAndRead(t, address)
		return
	}
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	netlab.NeedExec(t)
	ln := tcptest.PlainListen(t, "tcp4")
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), addressOfPeer+"="+ln.Addr().String())
	var output bytes.Buffer
	child.Stdout, child.Stderr = &output, &output
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	defer child.Process.Kill()
	peer := tcptest.Accept(t, ln)
	require.NoError(t, tcptest.Read(peer))
	tcptest.AwaitAcked(t, peer)
	netlab.MustSilence(t, peer.(*net.TCPConn))
	since := time.Now()
	require.NoError(t, tcptest.Err(stdin.Write([]byte("go on"))))
	time.Sleep(time.Until(since.Add(700 * time.Millisecond))) // it has seen a retransmission
	require.NoError(t, child.Process.Signal(syscall.SIGSTOP))
	time.Sleep(time.Until(since.Add(4 * time.Second))) // of which more follow until 3.2 s
	require.NoError(t, netlab.Wake(peer.(*net.TCPConn)))
	require.NoError(t, child.Process.Signal(syscall.SIGCONT))
	assert.NoError(t, tcptest.Read(peer))
	assert.NoError(t, tcptest.Write(peer))
	assert.NoError(t, child.Wait(), "%s", &output)
}

// writeAndRead is what the child process does, which Unacked must not disturb.
func writeAndRead(t *testing.T, address string) {
	conn, err := noKeepalive.Dial("tcp4", address)
	require.NoError(t, err)
	watched, _ := limit(t, conn, time.Second)
	require.NoError(t, tcptest.Write(watched))
	require.NoError(t, tcptest.Err(os.Stdin.Read(make([]byte, 1))))
	require.NoError(t, tcptest.Write(watched))
	require.NoError(t, tcptest.Read(watched))
}

// An idle connection is left to keepalive.
func TestUnackedLeavesAnIdleConnectionAlone(t *testing.T) {
	t.Parallel()
	conn, peer := tcptest.Pair(t, &keepalive.Dialer{Config: keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 6}}, tcptest.PlainListen(t, "tcp4"))
	since := tcptest.Exchange(t, conn, peer)
	tcptest.AwaitAcked(t, conn, peer)
	watched, losses := limit(t, conn, time.Second)
	netlab.MustSilence(t, peer.(*net.TCPConn))
	err := tcptest.Read(watched)
	tcptest.AssertWithin(t, since, 7*time.Second, 7*time.Second*9/8+500*time.Millisecond)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.NotContains(t, err.Error(), "gave up")
	assert.Len(t, losses, 1)
}

// Packets get lost, and a connection goes on.
func TestUnackedSparesALossyPath(t *testing.T) {
	t.Parallel()
	l := netlab.NewLab(t, netlab.Rules{Loss: 0.1})
	conn, peer := tcptest.Pair(t, tcptest.DialFunc(l.Client.Within(noKeepalive.DialContext)), l.Server.Listen(t, new(keepalive.ListenConfig), "tcp4", 0))
	watched, losses := limit(t, conn, 3*time.Second)
	go io.Copy(peer, peer)
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); {
		watched.SetDeadline(time.Now().Add(time.Minute))
		require.NoError(t, tcptest.Err(watched.Write(make([]byte, 10000))))
		require.NoError(t, tcptest.Err(io.ReadFull(watched, make([]byte, 10000))))
	}
	assert.Empty(t, losses)
}

// A round trip of 2 s leaves data unanswered for as long. The peer is given up once
// its path is gone.
func TestUnackedOverALongPath(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	d := dialDistant(t, 2*time.Second, noKeepalive.Config)
	const unacked = 3 * time.Second
	watched, losses := limit(t, d.conn, unacked)
	go io.Copy(d.peer, d.peer)
	for range 3 {
		require.NoError(t, tcptest.Write(watched))
		require.NoError(t, tcptest.Read(watched))
	}
	assert.Empty(t, losses)
	d.cut.Store(true)
	// The tail loss probe and three retransmissions follow the data after at most 1,
	// 2, 4 and 8 times the retransmission timeout, which the last one waits too.
	rto := time.Duration(tcptest.TCPInfo(t, d.conn).Rto) * time.Microsecond
	since := time.Now()
	require.NoError(t, tcptest.Write(watched))
	assertGivenUp(t, watched, losses, unacked, since, 9*rto*9/8)
}

func TestUnackedThatCannotBeKept(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, noKeepalive, tcptest.PlainListen(t, "tcp4"))
	for _, unacked := range []time.Duration{-1, 1, time.Second - 1, 24*time.Hour + 1} {
		_, err := (&keepalive.Watcher{Unacked: unacked}).Watch(conn)
		assert.EqualError(t, err, fmt.Sprintf("keepalive: Unacked is %v, want 1s to 24h0m0s, or 0 for the kernel's bounds", unacked))
	}
	for _, unacked := range []time.Duration{time.Second, 24 * time.Hour} {
		watched, _ := limit(t, conn, unacked)
		require.NoError(t, watched.(interface{ NetConn() net.Conn }).NetConn().SetDeadline(time.Time{}))
	}
	w := &keepalive.Watcher{Unacked: time.Second}
	for _, conn := range []net.Conn{nil, (*net.TCPConn)(nil)} {
		_, err := w.Watch(conn)
		assert.EqualError(t, err, "keepalive: got nil, want a connection")
	}
	pipe, _ := net.Pipe()
	_, err := w.Watch(pipe)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	conn.Close()
	_, err = w.Watch(conn)
	assert.ErrorIs(t, err, net.ErrClosed)

	unixConn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "@" + t.Name()})
	require.NoError(t, err)
	defer unixConn.Close()
	_, err = w.Watch(unixConn)
	assert.ErrorIs(t, err, errors.ErrUnsupported)

	ln := tcptest.MPTCPListen(t)
	conn, _ = tcptest.Pair(t, tcptest.MPTCPDialer(), ln)
	_, err = w.Watch(conn)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorContains(t, err, "the protocol of the socket is 262, want TCP")
}
