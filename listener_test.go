package keepalive_test

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
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
		listen(t, &keepalive.ListenConfig{NetListenConfig: nlc, Config: keepalive.Config{Idle: time.Minute}}, "tcp")
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
	assert.EqualError(t, second(ln.Accept()), says)
	assert.EqualError(t, ln.Close(), says)
	assert.Nil(t, ln.Addr())
}

// scripted is a listener that returns what it was given, in order.
type scripted struct {
	net.Listener
	conns []net.Conn
}

func (s *scripted) Accept() (net.Conn, error) {
	if len(s.conns) == 0 {
		return nil, net.ErrClosed
	}
	conn := s.conns[0]
	s.conns = s.conns[1:]
	return conn, nil
}

func TestAcceptPassesOverTheDead(t *testing.T) {
	tcp := plainListen(t, "tcp")
	_, dead := pair(t, new(net.Dialer), tcp)
	dead.Close()
	_, alive := pair(t, new(net.Dialer), tcp)

	ln, err := keepalive.NewListener(&scripted{tcp, []net.Conn{dead, alive}}, keepalive.Config{Idle: time.Minute})
	require.NoError(t, err)
	conn, err := ln.Accept()
	require.NoError(t, err)
	assert.Equal(t, alive, conn)

	_, err = ln.Accept()
	assert.Equal(t, net.ErrClosed, err, "the listener's own error ends the loop")
}

func TestAcceptOfNothing(t *testing.T) {
	ln, err := keepalive.NewListener(&scripted{plainListen(t, "tcp"), []net.Conn{nil}}, keepalive.Config{})
	require.NoError(t, err)
	_, err = ln.Accept()
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestListenersAreSafeForConcurrentUse(t *testing.T) {
	lc := &keepalive.ListenConfig{NetListenConfig: new(net.ListenConfig), Config: keepalive.Config{Idle: time.Minute}}
	shared := foreign(t, lc.Config)
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

// nowhere is a listener's address that leads to no socket of its own.
type nowhere string

func (n nowhere) Network() string { return string(n) }
func (n nowhere) String() string  { return string(n) }

type namedListener struct {
	scripted
	network net.Addr
}

func (n *namedListener) Addr() net.Addr { return n.network }

func TestAcceptReportsConnectionsThatAreNoSockets(t *testing.T) {
	for _, addr := range []net.Addr{nil, nowhere("tcp"), nowhere("pipe")} {
		opaque := new(closer)
		ln, err := keepalive.NewListener(&namedListener{scripted{conns: []net.Conn{opaque}}, addr}, keepalive.Config{})
		require.NoError(t, err)
		conn, err := ln.Accept()
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.Nil(t, conn)
		assert.True(t, opaque.closed)
	}
}

func TestTLSListenerInsideAndOutside(t *testing.T) {
	config := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	server, client := testTLS(t)
	inside, err := keepalive.NewListener(tls.NewListener(plainListen(t, "tcp4"), server), config)
	require.NoError(t, err)
	tuned, err := keepalive.NewListener(plainListen(t, "tcp4"), config)
	require.NoError(t, err)
	for name, ln := range map[string]net.Listener{
		"inside":       inside,
		"outside":      tls.NewListener(tuned, server),
		"ListenConfig": tls.NewListener(listen(t, &keepalive.ListenConfig{Config: config}, "tcp4"), server),
	} {
		dialed, accepted := pair(t, &tlsDialer{client}, ln)
		go accepted.Write([]byte("x"))
		_, err := dialed.Read(make([]byte, 1))
		require.NoError(t, err, name)
		assertHolds(t, config, accepted)
	}
}

type tlsDialer struct{ config *tls.Config }

func (d *tlsDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return tls.Client(conn, d.config), nil
}
