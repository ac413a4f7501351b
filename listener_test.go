//go:build !js && !wasip1

package keepalive_test

import (
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListenLeavesTheCallersListenConfigAlone(t *testing.T) {
	calls := 0
	nlc := &net.ListenConfig{
		KeepAlive:       42 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 43 * time.Second},
		Control:         func(string, string, syscall.RawConn) error { calls++; return nil },
	}
	multipath := nlc.MultipathTCP()
	for range 2 {
		tcptest.Listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: keepalive.Config{Idle: time.Minute, Interval: time.Second}}, "tcp")
	}
	assert.Equal(t, 2, calls)
	assert.Equal(t, 42*time.Second, nlc.KeepAlive)
	assert.Equal(t, net.KeepAliveConfig{Enable: true, Idle: 43 * time.Second}, nlc.KeepAliveConfig)
	assert.Equal(t, multipath, nlc.MultipathTCP())
}

func TestListenFailsWithTheCallersHook(t *testing.T) {
	refused := errors.New("refused by the hook")
	nlc := &net.ListenConfig{Control: func(string, string, syscall.RawConn) error { return refused }}
	ln, err := (&keepalive.ListenConfig{NetListenConfig: nlc}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	assert.ErrorIs(t, err, refused)
	assert.Nil(t, ln)
}

func TestNewListenerNeedsAListener(t *testing.T) {
	_, err := keepalive.NewListener(nil, keepalive.Config{})
	assert.EqualError(t, err, "keepalive: NewListener needs a listener, got nil")
}

func TestZeroListener(t *testing.T) {
	var ln keepalive.Listener
	const says = "keepalive: zero Listener, want one of NewListener"
	assert.EqualError(t, tcptest.Err(ln.Accept()), says)
	assert.EqualError(t, ln.Close(), says)
	assert.Nil(t, ln.Addr())
	assert.EqualError(t, tcptest.Err(keepalive.GetListener(&ln)), says)
}

func TestAcceptPassesOverTheDead(t *testing.T) {
	tcp := tcptest.PlainListen(t, "tcp")
	_, dead := tcptest.Pair(t, new(net.Dialer), tcp)
	dead.Close()
	_, alive := tcptest.Pair(t, new(net.Dialer), tcp)

	ln, err := keepalive.NewListener(&tcptest.FakeListener{Listener: tcp, Conns: []net.Conn{dead, alive}}, keepalive.Config{Idle: time.Minute, Interval: time.Second})
	require.NoError(t, err)
	conn, err := ln.Accept()
	require.NoError(t, err)
	assert.Equal(t, alive, conn)

	_, err = ln.Accept()
	assert.Equal(t, net.ErrClosed, err, "the listener's own error ends the loop")
}

func TestAcceptOfNothing(t *testing.T) {
	ln, err := keepalive.NewListener(&tcptest.FakeListener{Listener: tcptest.PlainListen(t, "tcp"), Conns: []net.Conn{nil}}, keepalive.Config{})
	require.NoError(t, err)
	_, err = ln.Accept()
	assert.ErrorContains(t, err, "keepalive: got nil, want a connection")
}

func TestListenersAreSafeForConcurrentUse(t *testing.T) {
	lc := &keepalive.ListenConfig{NetListenConfig: new(net.ListenConfig), Config: keepalive.Config{Idle: time.Minute, Interval: time.Second}}
	shared := tcptest.WrappedListen(t, lc.Config, "tcp")
	defer time.AfterFunc(time.Minute, func() { shared.Close() }).Stop()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if assert.NoError(t, err) {
				ln.Close()
			}
			conn, err := net.Dial("tcp", shared.Addr().String())
			if assert.NoError(t, err) {
				defer conn.Close()
			}
			accepted, err := shared.Accept()
			if assert.NoError(t, err) {
				accepted.Close()
			}
		})
	}
	wg.Wait()
}

// fakeAddr is a network and an address that leads to no socket.
type fakeAddr string

func (a fakeAddr) Network() string { return string(a) }
func (a fakeAddr) String() string  { return string(a) }

type addrListener struct {
	tcptest.FakeListener
	addr net.Addr
}

func (l *addrListener) Addr() net.Addr { return l.addr }

func TestAcceptReportsConnectionsThatAreNoSockets(t *testing.T) {
	for _, addr := range []net.Addr{nil, fakeAddr("tcp"), fakeAddr("pipe")} {
		opaque := new(closer)
		inner := &addrListener{tcptest.FakeListener{Conns: []net.Conn{opaque}}, addr}
		ln, err := keepalive.NewListener(inner, keepalive.Config{})
		require.NoError(t, err)
		conn, err := ln.Accept()
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.Nil(t, conn)
		assert.True(t, opaque.closed)
	}
}

func TestTLSListenerInsideAndOutside(t *testing.T) {
	config := tcptest.Supported(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3})
	server, client := tcptest.TLSConfigs(t)
	inside, err := keepalive.NewListener(tls.NewListener(tcptest.PlainListen(t, "tcp4"), server), config)
	require.NoError(t, err)
	for name, ln := range map[string]net.Listener{
		"inside":       inside,
		"outside":      tls.NewListener(tcptest.WrappedListen(t, config, "tcp4"), server),
		"ListenConfig": tls.NewListener(tcptest.Listen(t, &keepalive.ListenConfig{Config: config}, "tcp4"), server),
	} {
		dialed, accepted := tcptest.Pair(t, new(net.Dialer), ln)
		tcptest.Exchange(t, tls.Client(dialed, client), accepted)
		tcptest.AssertOptions(t, config, accepted, name)
	}
}

// unixPair returns both ends of a unix connection.
func unixPair(t *testing.T) (dialed, accepted net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return tcptest.Pair(t, new(net.Dialer), ln)
}

// A listener may merge several, whatever its address says. No client ends the
// loop of the server.
func TestAcceptOfAMergedListener(t *testing.T) {
	netlab.SkipOn(t, netlab.Wine, "net opens no unix socket there")
	for _, addr := range []net.Addr{nil, fakeAddr("tcp"), fakeAddr("unix"), fakeAddr("unixpacket"), fakeAddr("pipe")} {
		plain := tcptest.PlainListen(t, "tcp")
		_, tcp1 := tcptest.Pair(t, new(net.Dialer), plain)
		_, tcp2 := tcptest.Pair(t, new(net.Dialer), plain)
		_, unix := unixPair(t)
		opaque := new(closer)
		inner := &addrListener{tcptest.FakeListener{Listener: plain, Conns: []net.Conn{unix, tcp1, opaque, unix, tcp2}}, addr}
		ln, err := keepalive.NewListener(inner, keepalive.Config{Idle: time.Minute, Interval: time.Second})
		require.NoError(t, err)
		want := []net.Conn{unix, tcp1, unix, tcp2}
		isUnix := addr == fakeAddr("unix") || addr == fakeAddr("unixpacket")
		if isUnix {
			want = []net.Conn{unix, tcp1, opaque, unix, tcp2}
		}
		for _, want := range want {
			conn, err := ln.Accept()
			require.NoError(t, err, "%v", addr)
			assert.Equal(t, want, conn, "%v", addr)
		}
		assert.Equal(t, !isUnix, opaque.closed, "%v", addr)
	}
}

// limited is a listener like that of netutil.LimitListener, whose connections
// hide their socket.
type limited struct{ net.Listener }

type hidden struct{ net.Conn }

func (l limited) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return hidden{conn}, err
}

// That nothing can be tuned shows with the first connection.
func TestAcceptOfAListenerThatHidesItsSockets(t *testing.T) {
	config := keepalive.Config{Idle: time.Minute, Interval: time.Second}
	plain := tcptest.PlainListen(t, "tcp")
	ln, err := keepalive.NewListener(limited{plain}, config)
	require.NoError(t, err)
	dialed, err := net.Dial("tcp", plain.Addr().String())
	require.NoError(t, err)
	defer dialed.Close()
	_, err = ln.Accept()
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.EqualError(t, err, "keepalive: keepalive_test.hidden gives no access to a socket by SyscallConn or NetConn: "+
		"unsupported operation: wrap keepalive_test.limited around a keepalive.Listener, not the other way round")

	tuned, err := keepalive.NewListener(plain, config)
	require.NoError(t, err)
	_, accepted := tcptest.Pair(t, new(net.Dialer), limited{tuned})
	assert.IsType(t, hidden{}, accepted)
}

// Pointers that are nil, whose methods panic.
func TestListenerOfANilPointer(t *testing.T) {
	for _, ln := range []net.Listener{(*net.TCPListener)(nil), (*keepalive.Listener)(nil)} {
		assert.EqualError(t, tcptest.Err(keepalive.NewListener(ln, keepalive.Config{})), "keepalive: NewListener needs a listener, got nil")
		assert.EqualError(t, tcptest.Err(keepalive.GetListener(ln)), "keepalive: GetListener needs a listener, got nil")
	}
}
