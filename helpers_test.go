package keepalive_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/require"
)

// quick notices a silent peer after 4 s.
var quick = keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 3}

// plainListen listens with nothing of this package, and without MPTCP.
func plainListen(t testing.TB, network string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return listen(t, &lc, network)
}

type listenConfig interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
}

func listen(t testing.TB, lc listenConfig, network string) net.Listener {
	t.Helper()
	ln, err := lc.Listen(t.Context(), network, loopback(network))
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

func loopback(network string) string {
	if network == "tcp6" {
		return "[::1]:0"
	}
	return "127.0.0.1:0"
}

type dialer interface {
	Dial(network, address string) (net.Conn, error)
}

// pair returns both ends of a connection, on the goroutine that calls it.
func pair(t testing.TB, d dialer, ln net.Listener) (dialed, accepted net.Conn) {
	t.Helper()
	dialed, err := d.Dial(ln.Addr().Network(), ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { dialed.Close() })
	accepted, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	return dialed, accepted
}

// wrapper hides a connection as a library of middleware would.
type wrapper struct{ net.Conn }

func (w wrapper) NetConn() net.Conn { return w.Conn }

// testTLS borrows the certificate of httptest.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

func second[T any](_ T, err error) error { return err }
