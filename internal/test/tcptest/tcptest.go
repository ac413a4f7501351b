// Package tcptest helps to test the options of TCP sockets. It opens connections
// on loopback, and reads what the kernel holds for them without package
// keepalive. Nothing in it waits without a deadline.
package tcptest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// Quick is the policy that notices a silent peer after 4 s.
var Quick = keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 3}

// NetDefault is the policy that package net sets by default.
var NetDefault = keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9}

// The size of a probe and of its answer, from the IP header on, with TCP
// timestamps.
const (
	ProbeSizeIPv4 = 52
	ProbeSizeIPv6 = 72
)

// Refused is an address that refuses connections. The address of a listener that was
// just closed may still accept them: a process that another test starts has a copy of
// the listener between fork and exec.
const Refused = "127.0.0.1:1"

// timeout bounds every wait that has no deadline of its own.
const timeout = 30 * time.Second

// A ListenConfig is a [net.ListenConfig], or listens like one.
type ListenConfig interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
}

// Listen listens on loopback until the test ends.
func Listen(t testing.TB, lc ListenConfig, network string) net.Listener {
	t.Helper()
	ln, err := lc.Listen(t.Context(), network, loopback(network))
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// PlainListen is [Listen] without a keepalive policy and without MPTCP.
func PlainListen(t testing.TB, network string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return Listen(t, &lc, network)
}

// WrappedListen is [PlainListen] within a [keepalive.Listener].
func WrappedListen(t testing.TB, c keepalive.Config, network string) *keepalive.Listener {
	t.Helper()
	ln, err := keepalive.NewListener(PlainListen(t, network), c)
	require.NoError(t, err)
	return ln
}

func loopback(network string) string {
	if network == "tcp6" {
		return "[::1]:0"
	}
	return "127.0.0.1:0"
}

// A Dialer is a [net.Dialer], or dials like one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// DialFunc makes a [Dialer] of a dial function.
type DialFunc keepalive.DialFunc

// DialContext calls f.
func (f DialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

// Pair returns both ends of a connection to ln, which are closed when the test
// ends. It opens both on the calling goroutine.
func Pair(t testing.TB, d Dialer, ln net.Listener) (dialed, accepted net.Conn) {
	t.Helper()
	return Dial(t, d, ln), Accept(t, ln)
}

// Dial returns a connection to ln that is closed when the test ends.
func Dial(t testing.TB, d Dialer, ln net.Listener) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	conn, err := d.DialContext(ctx, ln.Addr().Network(), ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Accept returns the next connection of ln, which is closed when the test ends.
// It closes ln if there is none in time.
func Accept(t testing.TB, ln net.Listener) net.Conn {
	t.Helper()
	expired := time.AfterFunc(timeout, func() { ln.Close() })
	defer expired.Stop()
	conn, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Read reads a byte.
func Read(conn net.Conn) error {
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	return Err(conn.Read(make([]byte, 1)))
}

// Write writes a byte.
func Write(conn net.Conn) error {
	conn.SetWriteDeadline(time.Now().Add(time.Minute))
	return Err(conn.Write([]byte("x")))
}

// Exchange sends a byte each way. It returns a time just before the last one.
func Exchange(t testing.TB, conn, peer net.Conn) (since time.Time) {
	t.Helper()
	for _, c := range []net.Conn{conn, peer} {
		c.SetDeadline(time.Now().Add(timeout))
		defer c.SetDeadline(time.Time{})
	}
	type reply struct {
		at  time.Time
		err error
	}
	replied := make(chan reply, 1)
	go func() {
		b := make([]byte, 1)
		_, err := peer.Read(b)
		at := time.Now()
		if err == nil {
			_, err = peer.Write(b)
		}
		replied <- reply{at, err}
	}()
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	r := <-replied
	require.NoError(t, r.err)
	return r.at
}

// Await polls until done returns true.
func Await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !done(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "waited %v for %s", timeout, what)
	}
}

// Wrap returns a connection that shows conn by NetConn alone.
func Wrap(conn net.Conn) net.Conn { return wrapper{conn} }

type wrapper struct{ net.Conn }

func (w wrapper) NetConn() net.Conn { return w.Conn }

// A FakeListener accepts Conns, and then fails with [net.ErrClosed]. Its other
// methods are those of Listener.
type FakeListener struct {
	net.Listener
	Conns []net.Conn
}

// Accept returns the next one of Conns.
func (l *FakeListener) Accept() (net.Conn, error) {
	if len(l.Conns) == 0 {
		return nil, net.ErrClosed
	}
	conn := l.Conns[0]
	l.Conns = l.Conns[1:]
	return conn, nil
}

// TLSConfigs returns the configurations of a server and of a client that trusts
// it. The certificate is that of package httptest.
func TLSConfigs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// Supported returns c without the fields that can't be set here.
func Supported(c keepalive.Config) keepalive.Config {
	if Portable {
		c.UserTimeout, c.MaxRTO = 0, 0
	}
	if netlab.OldWindows.Here() {
		c.Count = 0
		if c.Idle == 0 || c.Interval == 0 {
			c.Idle, c.Interval = 0, 0
		}
	}
	return c
}

// SkipUnsupported skips a test of c if it can't be set here. Package readback
// tests that it says so.
func SkipUnsupported(t testing.TB, c keepalive.Config) {
	t.Helper()
	if Supported(c) != c {
		t.Skipf("package net: %v can't be set", c)
	}
}

// Control calls f with the descriptor of a connection or listener, however
// wrapped.
func Control(t testing.TB, socket any, f func(fd uintptr)) {
	t.Helper()
	rc, err := syscallConn(socket).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(f))
}

func syscallConn(socket any) syscall.Conn {
	if wrapper, ok := socket.(interface{ NetConn() net.Conn }); ok {
		return syscallConn(wrapper.NetConn())
	}
	return socket.(syscall.Conn)
}

// A RawSocket makes a [syscall.Conn] of what a Control hook is given.
type RawSocket struct{ syscall.RawConn }

// SyscallConn returns the inner connection.
func (s RawSocket) SyscallConn() (syscall.RawConn, error) { return s.RawConn, nil }

// Err returns the error alone.
func Err[T any](_ T, err error) error { return err }
