//go:build !js && !wasip1

package keepalive_test

import (
	"context"
	"errors"
	"io"
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

func TestDialReturnsTCPConn(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp")
	conn, err := new(keepalive.Dialer).Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	assert.IsType(t, new(net.TCPConn), conn)
}

func TestDialLeavesTheCallersDialerAlone(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp")
	nd := &net.Dialer{
		KeepAlive:       42 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 43 * time.Second},
	}
	d := &keepalive.Dialer{NetDialer: nd, Config: keepalive.Config{Idle: time.Minute, Interval: time.Second}}
	conn, err := d.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	conn.Close()
	assert.Equal(t, 42*time.Second, nd.KeepAlive)
	assert.Equal(t, net.KeepAliveConfig{Enable: true, Idle: 43 * time.Second}, nd.KeepAliveConfig)
	assert.Nil(t, nd.Control)
	assert.Nil(t, nd.ControlContext)
}

func TestDialRunsTheCallersHooks(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	var calls []string
	control := func(network, address string, _ syscall.RawConn) error {
		calls = append(calls, "Control "+network+" "+address)
		return nil
	}
	controlContext := func(ctx context.Context, network, address string, _ syscall.RawConn) error {
		calls = append(calls, "ControlContext "+network+" "+address+" "+ctx.Value(key{}).(string))
		return nil
	}
	address := ln.Addr().String()
	for want, nd := range map[string]*net.Dialer{
		"Control tcp4 " + address:                   {Control: control},
		"ControlContext tcp4 " + address + " value": {Control: control, ControlContext: controlContext},
	} {
		calls = nil
		conn, err := (&keepalive.Dialer{NetDialer: nd}).DialContext(ctx, "tcp", address)
		require.NoError(t, err)
		conn.Close()
		assert.Equal(t, []string{want}, calls)
	}
}

func TestDialFailsWithTheCallersHook(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	refused := errors.New("refused by the hook")
	for _, nd := range []*net.Dialer{
		{Control: func(string, string, syscall.RawConn) error { return refused }},
		{ControlContext: func(context.Context, string, string, syscall.RawConn) error { return refused }},
	} {
		conn, err := (&keepalive.Dialer{NetDialer: nd}).Dial("tcp", ln.Addr().String())
		assert.ErrorIs(t, err, refused)
		assert.Nil(t, conn)
	}
}

func TestDialKeepsTheCallersSettings(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)

	free, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	free.Close()
	local := free.Addr()
	conn, err := (&keepalive.Dialer{NetDialer: &net.Dialer{LocalAddr: local}}).Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	assert.Equal(t, local.String(), conn.LocalAddr().String())

	asked := errors.New("the resolver was asked")
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, asked }}
	_, err = (&keepalive.Dialer{NetDialer: &net.Dialer{Resolver: resolver}}).Dial("tcp", "replica.example:"+port)
	assert.ErrorContains(t, err, asked.Error())

	_, err = (&keepalive.Dialer{NetDialer: &net.Dialer{Timeout: time.Nanosecond}}).Dial("tcp", ln.Addr().String())
	var timeout net.Error
	if assert.ErrorAs(t, err, &timeout) {
		assert.True(t, timeout.Timeout())
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = new(keepalive.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	assert.ErrorContains(t, err, "canceled")
}

func TestOtherNetworksPassThrough(t *testing.T) {
	netlab.SkipOn(t, netlab.Wine, "net opens no UDP socket there, and no unix socket")
	c := keepalive.Config{Idle: time.Minute, UserTimeout: time.Second}
	d := &keepalive.Dialer{Config: c}

	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	conn, err := d.Dial("udp", udp.LocalAddr().String())
	require.NoError(t, err)
	conn.Close()

	hooked := 0
	hook := func(string, string, syscall.RawConn) error { hooked++; return nil }
	conn, err = (&keepalive.Dialer{NetDialer: &net.Dialer{Control: hook}, Config: c}).Dial("udp", udp.LocalAddr().String())
	require.NoError(t, err)
	conn.Close()
	listened, err := (&keepalive.ListenConfig{NetListenConfig: &net.ListenConfig{Control: hook}, Config: c}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	listened.Close()
	assert.Equal(t, 2, hooked)
	assert.Error(t, tcptest.Err((&keepalive.Dialer{NetDialer: new(net.Dialer)}).Dial("unix", filepath.Join(t.TempDir(), "missing"))))

	ln, err := (&keepalive.ListenConfig{Config: c}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer ln.Close()
	assert.IsType(t, new(net.UnixListener), ln)
	conn, _ = tcptest.Pair(t, d, ln)
	assert.IsType(t, new(net.UnixConn), conn)

	conn, err = c.WrapDial(new(net.Dialer).DialContext)(t.Context(), "unix", ln.Addr().String())
	require.NoError(t, err)
	conn.Close()

	outer, err := keepalive.NewListener(ln, c)
	require.NoError(t, err)
	_, accepted := tcptest.Pair(t, d, outer)
	assert.IsType(t, new(net.UnixConn), accepted)
}

func TestDialerIsSafeForConcurrentUse(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp")
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	d := &keepalive.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: keepalive.Config{Idle: time.Minute, Interval: time.Second}}
	wrapped := d.Config.WrapDial(d.DialContext)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for _, dial := range []keepalive.DialFunc{d.DialContext, wrapped} {
				conn, err := dial(t.Context(), "tcp", ln.Addr().String())
				if assert.NoError(t, err) {
					conn.Close()
				}
			}
		})
	}
	wg.Wait()
}

func TestWrapDialReturnsTheErrorOfTheDial(t *testing.T) {
	refused := errors.New("refused by the proxy")
	conn, err := keepalive.Config{}.WrapDial(func(context.Context, string, string) (net.Conn, error) { return nil, refused })(t.Context(), "tcp", "x:1")
	assert.Equal(t, refused, err)
	assert.Nil(t, conn)
}

// closer tells whether it was closed.
type closer struct {
	net.Conn
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

func TestWrapDialClosesWhatItCannotTune(t *testing.T) {
	opaque := new(closer)
	dial := keepalive.Config{}.WrapDial(func(context.Context, string, string) (net.Conn, error) { return opaque, nil })
	conn, err := dial(t.Context(), "tcp", "replica.example:5432")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorContains(t, err, "dial tcp replica.example:5432: keepalive: *keepalive_test.closer gives no access to a socket")
	assert.Nil(t, conn)
	assert.True(t, opaque.closed)

	nothing := keepalive.Config{}.WrapDial(func(context.Context, string, string) (net.Conn, error) { return nil, nil })
	_, err = nothing(t.Context(), "tcp", "x:1")
	assert.EqualError(t, err, "dial tcp x:1: keepalive: got nil, want a connection")

	_, err = keepalive.Config{}.WrapDial(nil)(t.Context(), "tcp", "x:1")
	assert.EqualError(t, err, "keepalive: WrapDial needs a dial function, got nil")
}

func TestWrapDialReturnsTheConnectionItWasGiven(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp")
	var inner net.Conn
	dial := keepalive.Config{}.WrapDial(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		inner = tcptest.Wrap(conn)
		return inner, err
	})
	conn, err := dial(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	assert.Equal(t, inner, conn)
	tcptest.Accept(t, ln).Close()
	assert.Equal(t, io.EOF, tcptest.Read(conn))
}
