package integration_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/proxy"
)

// Counter is the service behind the proxy.
type Counter int

// Add adds n and returns the sum.
func (c *Counter) Add(n int, sum *int) error {
	*c += Counter(n)
	*sum = int(*c)
	return nil
}

// net/rpc through a SOCKS5 proxy at the other side of the firewall.
func TestSOCKS5(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	proxyAddress := serveSOCKS5(t, lab.Server)
	counting := func(t *testing.T, d *dialer) func(context.Context) error {
		server := rpc.NewServer()
		require.NoError(t, server.Register(new(Counter)))
		ln := lab.Server.Listen(t, plainListen(), "tcp4", 0)
		go serve(ln, server.ServeConn)
		conn, err := clients.SOCKS5(soon(t), proxyAddress, ln.Addr().String(), d)
		require.NoError(t, err)
		client := rpc.NewClient(conn)
		t.Cleanup(func() { client.Close() })
		count := func(ctx context.Context, want int) error {
			var sum int
			call := client.Go("Counter.Add", 1, &sum, make(chan *rpc.Call, 1))
			select {
			case <-call.Done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if call.Error == nil && sum != want {
				return fmt.Errorf("counted %d, want %d", sum, want)
			}
			return call.Error
		}
		require.NoError(t, count(soon(t), 1))
		return func(ctx context.Context) error { return count(ctx, 2) }
	}

	t.Run("Dialer", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), counting)
	})
	t.Run("WrapDial", func(t *testing.T) {
		t.Parallel()
		wrapped := &dialer{host: lab.Client, dial: policy.WrapDial(new(net.Dialer).DialContext)}
		withAndWithout(t, plain(lab.Client), wrapped, counting)
	})

	t.Run("loss", func(t *testing.T) {
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			ln := lab.Server.Listen(t, plainListen(), "tcp4", 0)
			conn, err := clients.SOCKS5(soon(t), proxyAddress, ln.Addr().String(), d)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			return func(context.Context) error {
				_, err := conn.Read(make([]byte, 1))
				return err
			}
		}, theError, theError)
	})

	// What the SOCKS5 dialer itself returns hides the socket, so that a policy
	// is an error rather than nothing.
	t.Run("WrapDial around the proxy", func(t *testing.T) {
		d := plain(lab.Client)
		socks, err := proxy.SOCKS5("tcp", proxyAddress, nil, d)
		require.NoError(t, err)
		conn, err := policy.WrapDial(socks.(proxy.ContextDialer).DialContext)(t.Context(), "tcp", proxyAddress)
		assert.Nil(t, conn)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "*socks.Conn gives no access to a socket")
		_, err = keepalive.Get(d.conns[0])
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

// serveSOCKS5 serves as much of RFC 1928 as a client needs that connects to an
// IPv4 address without authentication.
func serveSOCKS5(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	dial := host.Within(new(net.Dialer).DialContext)
	go serve(ln, func(conn io.ReadWriteCloser) { relaySOCKS5(conn, dial) })
	return ln.Addr().String()
}

// serve hands over each connection, until the listener is closed.
func serve(ln net.Listener, handle func(io.ReadWriteCloser)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go handle(conn)
	}
}

func relaySOCKS5(conn io.ReadWriteCloser, dial keepalive.DialFunc) error {
	defer conn.Close()
	r := bufio.NewReader(conn)
	greeting := make([]byte, 2) // version, number of methods
	if _, err := io.ReadFull(r, greeting); err != nil {
		return err
	}
	if _, err := r.Discard(int(greeting[1])); err != nil {
		return err
	}
	conn.Write([]byte{5, 0}) // no authentication
	request := make([]byte, 4+net.IPv4len+2)
	if _, err := io.ReadFull(r, request); err != nil {
		return err
	}
	if connect := [4]byte{5, 1, 0, 1}; [4]byte(request) != connect {
		return fmt.Errorf("SOCKS5 request % x is no CONNECT to an IPv4 address", request)
	}
	target := net.TCPAddr{IP: request[4:8], Port: int(binary.BigEndian.Uint16(request[8:]))}
	peer, err := dial(context.Background(), "tcp4", target.String())
	if err != nil {
		return err
	}
	defer peer.Close()
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}) // succeeded
	go func() {
		io.Copy(conn, peer)
		conn.Close()
	}()
	_, err = io.Copy(peer, r)
	return err
}
