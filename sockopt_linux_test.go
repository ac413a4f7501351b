package keepalive_test

import (
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"path/filepath"
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

func TestMain(m *testing.M) { netlab.Main(m) }

func TestGet(t *testing.T) {
	t.Parallel()
	for _, c := range []keepalive.Config{
		{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 1500 * time.Millisecond},
		{Disable: true, Idle: time.Second, Interval: time.Second, Count: 1},
	} {
		c = tcptest.Supported(c)
		conn, _ := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, "tcp4"))
		tcptest.AssertOptions(t, c, conn)
		tcptest.AssertGet(t, c, conn)

		before := tcptest.Options(t, conn)
		require.NoError(t, c.Apply(conn))
		assert.Equal(t, before, tcptest.Options(t, conn))
	}
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	tcptest.AssertGet(t, tcptest.NetDefault, conn)
}

func TestApplyAndGetThroughWrappers(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"tls.Conn":            func(c net.Conn) net.Conn { return tls.Client(c, new(tls.Config)) },
		"NetConn":             func(c net.Conn) net.Conn { return tcptest.Wrap(c) },
		"NetConn of NetConn":  func(c net.Conn) net.Conn { return tcptest.Wrap(tcptest.Wrap(c)) },
		"NetConn of tls.Conn": func(c net.Conn) net.Conn { return tcptest.Wrap(tls.Server(tcptest.Wrap(c), new(tls.Config))) },
	} {
		conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
		require.NoError(t, c.Apply(wrap(conn)), name)
		tcptest.AssertOptions(t, c, conn, name)
		tcptest.AssertGet(t, c, wrap(conn), name)
	}
}

func TestClosedConnection(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	conn.Close()
	assert.ErrorIs(t, tcptest.Quick.Apply(conn), net.ErrClosed)
	assert.ErrorIs(t, tcptest.Quick.Apply(tls.Client(conn, new(tls.Config))), net.ErrClosed)
	_, err := keepalive.Get(conn)
	assert.ErrorIs(t, err, net.ErrClosed)
}

// TCP_USER_TIMEOUT can be refused, so it goes first: here by MPTCP, which lacks
// it, with ENOPROTOOPT.
func TestRefusalLeavesTheSocketAsItWas(t *testing.T) {
	t.Parallel()
	conn, _ := tcptest.Pair(t, tcptest.MPTCPDialer(), tcptest.MPTCPListen(t))
	before := tcptest.Options(t, conn)

	err := keepalive.Config{Idle: time.Minute, Count: 3, UserTimeout: time.Second}.Apply(conn)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if !tcptest.Portable {
		assert.EqualError(t, err, "keepalive: setsockopt TCP_USER_TIMEOUT: protocol not available: the socket uses MPTCP, want plain TCP")
		var errno syscall.Errno
		require.ErrorAs(t, err, &errno)
		assert.Equal(t, unix.ENOPROTOOPT, errno)
	} else {
		assert.EqualError(t, err, "keepalive: TCP_USER_TIMEOUT on linux: unsupported operation")
	}
	assert.Equal(t, before, tcptest.Options(t, conn))

	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	require.NoError(t, c.Apply(conn), "off is what MPTCP has")
	tcptest.AssertOptions(t, c, conn)
	tcptest.AssertGet(t, c, conn)
}

// What Apply sets is explicit, even where it equals what the socket follows.
func TestApplyOfTheDefaultEndsFollowing(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	conn, _ := tcptest.Pair(t, new(keepalive.Dialer), tcptest.PlainListen(t, "tcp4"))
	set := keepalive.Config{Idle: 111 * time.Second, Interval: 22 * time.Second, Count: 3}
	require.NoError(t, set.Apply(conn))
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "33")
	tcptest.AssertOptions(t, set, conn)
}

func TestSysctlThatNoSocketAccepts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sysctl, value, says string
		instead             keepalive.Config
	}{
		{"tcp_keepalive_time", "100000", "net.ipv4.tcp_keepalive_time is 100000, a socket accepts 1 to 32767: set Config.Idle", keepalive.Config{Idle: time.Hour}},
		{"tcp_keepalive_time", "0", "net.ipv4.tcp_keepalive_time is 0, a socket accepts 1 to 32767: set Config.Idle", keepalive.Config{Idle: time.Hour}},
		{"tcp_keepalive_time", "-1", "net.ipv4.tcp_keepalive_time is -1, a", keepalive.Config{Idle: time.Hour}},
		{"tcp_keepalive_intvl", "0", "net.ipv4.tcp_keepalive_intvl is 0, a socket accepts 1 to 32767: set Config.Interval", keepalive.Config{Interval: time.Second}},
		{"tcp_keepalive_probes", "200", "net.ipv4.tcp_keepalive_probes is 200, a socket accepts 1 to 127: set Config.Count", keepalive.Config{Count: 3}},
		{"tcp_keepalive_probes", "0", "net.ipv4.tcp_keepalive_probes is 0, a", keepalive.Config{Count: 3}},
	} {
		t.Run(tt.sysctl+"="+tt.value, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			ln := tcptest.PlainListen(t, "tcp4")
			conn, _ := tcptest.Pair(t, new(net.Dialer), ln)
			netlab.Sysctl(t, tt.sysctl, tt.value)

			before := tcptest.Options(t, conn)
			if tcptest.Portable {
				assert.NoError(t, keepalive.Config{}.Apply(conn), "what is not written can't be refused")
				assert.Equal(t, before, tcptest.Options(t, conn))
				return
			}
			assert.ErrorContains(t, keepalive.Config{}.Apply(conn), "keepalive: "+tt.says)
			assert.Equal(t, before, tcptest.Options(t, conn))
			assert.ErrorContains(t, tcptest.Err(keepalive.NewListener(ln, keepalive.Config{})), tt.says)
			assert.ErrorContains(t, tcptest.Err(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp", ln.Addr().String())), tt.says)

			off := keepalive.Config{Disable: true, UserTimeout: time.Minute}
			require.NoError(t, off.Apply(conn), "it does not matter while keepalive is off")
			wrapped, err := keepalive.NewListener(ln, off)
			require.NoError(t, err)
			_, accepted := tcptest.Pair(t, new(net.Dialer), wrapped)
			want := keepalive.Config{Disable: true, Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9, UserTimeout: time.Minute}
			switch { // what can't be set stays as net has it
			case tt.instead.Idle != 0:
				want.Idle = before.Idle
			case tt.instead.Interval != 0:
				want.Interval = before.Interval
			default:
				want.Count = before.Count
			}
			tcptest.AssertOptions(t, want, conn)
			tcptest.AssertOptions(t, want, accepted)

			assert.NoError(t, tt.instead.Apply(conn))
			fresh, _ := tcptest.Pair(t, new(keepalive.Dialer), ln)
			assert.False(t, tcptest.Options(t, fresh).Disable, "what is not written can't be refused")
		})
	}
}

func TestEffective(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	netlab.Sysctl(t, "tcp_keepalive_probes", "0")
	want := keepalive.Config{Idle: 111 * time.Second, Interval: 75 * time.Second}
	if tcptest.Portable {
		want = keepalive.Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9} // tcp(7)
	}
	assert.Equal(t, want, keepalive.Config{}.Effective())
	full := keepalive.Config{Disable: true, Idle: time.Minute, Interval: time.Nanosecond, Count: 3, UserTimeout: time.Second}
	assert.Equal(t, full, full.Effective())
}

func TestErrorOfControl(t *testing.T) {
	t.Parallel()
	// Nothing stops a caller from naming a network that the socket is not.
	lc := net.ListenConfig{Control: func(_, address string, rc syscall.RawConn) error {
		return keepalive.Config{Count: 3}.Control("tcp", address, rc)
	}}
	_, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	if !tcptest.Portable {
		assert.ErrorContains(t, err, "keepalive: setsockopt TCP_KEEPCNT: protocol not available: not a TCP socket")
		assert.ErrorIs(t, err, syscall.ENOPROTOOPT)
	} else {
		assert.ErrorContains(t, err, "keepalive: TCP_KEEPCNT before a socket is connected on linux: unsupported operation")
	}

	lc.Control = keepalive.Config{Count: 3}.Control
	pc, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	pc.Close()
}

// An error says what the socket is, where that is why.
func TestErrorOfAnotherSocket(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("udp4", "127.0.0.1:9")
	require.NoError(t, err)
	defer conn.Close()
	for call, err := range map[string]error{
		"setsockopt TCP_KEEPCNT":  tcptest.Quick.Apply(conn),
		"getsockopt TCP_KEEPIDLE": tcptest.Err(keepalive.Get(conn)),
		"getsockopt TCP_INFO":     tcptest.Err(keepalive.Stat(conn)),
	} {
		assert.ErrorIs(t, err, errors.ErrUnsupported, call)
		if !tcptest.Portable {
			assert.Regexp(t, "^keepalive: "+call+": .*: not a TCP socket$", err)
		}
	}
}

// lacking is a TCP connection of a kernel that lacks the options. What sets them
// gets a UDP socket, which does.
type lacking struct {
	*net.TCPConn
	instead *net.UDPConn
}

func (l *lacking) SyscallConn() (syscall.RawConn, error) {
	if l.instead == nil {
		return l.TCPConn.SyscallConn()
	}
	defer func() { l.instead = nil }()
	return l.instead.SyscallConn()
}

func (*lacking) SetKeepAliveConfig(net.KeepAliveConfig) error { return unix.ENOPROTOOPT } // portable

// What would fail for every connection ends the loop of the server.
func TestAcceptWhereTheKernelLacksAnOption(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer udp.Close()
	plain := tcptest.PlainListen(t, "tcp4")
	inner := &tcptest.FakeListener{Listener: plain}
	for range 2 {
		_, accepted := tcptest.Pair(t, new(net.Dialer), plain)
		inner.Conns = append(inner.Conns, &lacking{accepted.(*net.TCPConn), udp})
	}
	ln, err := keepalive.NewListener(inner, tcptest.Quick)
	require.NoError(t, err)
	_, err = ln.Accept()
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorIs(t, err, unix.ENOPROTOOPT)
	assert.Len(t, inner.Conns, 1, "the next one is not tried")
}

// stat returns the status of conn. It skips the test where there is none, once it
// has asserted that Stat says so: qemu-user hands over a part of TCP_INFO.
func stat(t *testing.T, conn net.Conn) keepalive.Status {
	t.Helper()
	status, err := keepalive.Stat(conn)
	if tcptest.Portable || netlab.GVisor.Here() || tcptest.TCPInfoSize(t, conn) < 104 {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO has no counts")
		t.Skip(err)
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

// Both loops of the example, with the primary dead. Neither may take the other's
// turn, so each has a connection.
func TestReadLoops(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		loop func(net.Conn, time.Duration, func(), func([]byte)) error
		lost bool
	}{
		"right": {follow, true},
		"usual": {followUsual, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, _ := tcptest.DialSilent(t, keepalive.Config{})
			tcptest.SetsockoptInt(t, conn, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000)
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			periods := 0
			err := tt.loop(conn, 50*time.Millisecond, func() { periods++ }, func([]byte) {})
			tcptest.AssertWithin(t, since, time.Second, 2*time.Second)
			assert.Equal(t, tt.lost, keepalive.IsPeerLost(err), "%v", err)
			assert.Equal(t, tt.lost, err != nil, "the usual loop says that all has come")
			assert.GreaterOrEqual(t, periods, 3)
		})
	}
}

func TestUnackedTime(t *testing.T) {
	t.Parallel()
	if tcptest.Portable {
		t.Skip("this build knows no kernel")
	}
	netlab.NewNamespace(t)
	const s, ms = time.Second, time.Millisecond
	assertUnacked := func(c keepalive.Config, want time.Duration) {
		t.Helper()
		d, ok := c.UnackedTime()
		assert.Equal(t, want, d, "%v", c)
		assert.True(t, ok, "%v", c)
	}
	assertUnacked(keepalive.Config{}, 924600*ms) // tcp(7)
	assertUnacked(keepalive.Config{Disable: true, Idle: s}, 924600*ms)
	assertUnacked(keepalive.Config{UserTimeout: 75*s + 1}, 75001*ms)
	assertUnacked(keepalive.Config{MaxRTO: s}, 14400*ms)
	assertUnacked(keepalive.Config{MaxRTO: 2 * s}, 27*s)
	assertUnacked(keepalive.Config{MaxRTO: 120 * s}, 924600*ms)
	assertUnacked(keepalive.Config{MaxRTO: 2 * s, UserTimeout: 10 * s}, 10*s)
	for _, c := range []keepalive.Config{{MaxRTO: -1}, {MaxRTO: math.MaxInt64}, {UserTimeout: -s}, {UserTimeout: math.MaxInt64}, {UserTimeout: s, MaxRTO: ms}} {
		_, ok := c.UnackedTime()
		assert.False(t, ok, "%v, which no socket accepts", c)
	}
	assertUnacked(keepalive.Config{Idle: -1, MaxRTO: s}, 14400*ms)
	netlab.Sysctl(t, "tcp_retries2", "0")
	assertUnacked(keepalive.Config{}, 200*ms)
	netlab.Sysctl(t, "tcp_retries2", "255")
	assertUnacked(keepalive.Config{}, 204600*ms+246*120*s)

	// Plan counts with more retransmissions than 15 where there are more.
	c, err := keepalive.Plan(keepalive.Target{Detect: 10 * time.Minute, Unacked: true, SlowReads: true})
	require.NoError(t, err)
	assert.Equal(t, 2*s, c.MaxRTO)
}

func TestGetListener(t *testing.T) {
	t.Parallel()
	inner := tcptest.PlainListen(t, "tcp4")
	off, err := keepalive.GetListener(inner)
	require.NoError(t, err)
	assert.True(t, off.Disable)
	assert.Equal(t, keepalive.SystemDefaults().Idle, off.Idle)

	wrapped, err := keepalive.NewListener(inner, tcptest.Quick)
	require.NoError(t, err)
	got, err := keepalive.GetListener(wrapped)
	require.NoError(t, err)
	assert.Equal(t, off, got, "the listening socket is left alone")
	twice, err := keepalive.NewListener(wrapped, tcptest.Quick)
	require.NoError(t, err)
	got, err = keepalive.GetListener(twice)
	require.NoError(t, err)
	assert.Equal(t, off, got)

	set, err := keepalive.GetListener(tcptest.Listen(t, &keepalive.ListenConfig{Config: tcptest.Quick}, "tcp4"))
	require.NoError(t, err)
	if tcptest.Portable {
		assert.Equal(t, off, set, "the policy is set on what is accepted")
	} else {
		assert.Equal(t, tcptest.Quick, set)
	}

	other, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer other.Close()
	closed := tcptest.PlainListen(t, "tcp4")
	closed.Close()
	for ln, want := range map[net.Listener]error{
		other:                     errors.ErrUnsupported,
		new(tcptest.FakeListener): errors.ErrUnsupported,
		closed:                    net.ErrClosed,
	} {
		assert.ErrorIs(t, tcptest.Err(keepalive.GetListener(ln)), want, "%T", ln)
	}
	assert.EqualError(t, tcptest.Err(keepalive.GetListener(nil)), "keepalive: GetListener needs a listener, got nil")
}
