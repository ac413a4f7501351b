package integration_test

import (
	"context"
	"fmt"
	"io"
	"net/rpc"
	"testing"

	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client of net/rpc that makes no call for a while.
func TestRPC(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address := serveRPC(t, lab.Server)
	open := func(t *testing.T, d *dialer) *rpc.Client {
		client, err := clients.RPC(soon(t), address, d.DialContext)
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		require.NoError(t, say(soon(t), client))
		return client
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			client := open(t, d)
			return func(ctx context.Context) error { return say(ctx, client) }
		})
	})

	// A call under way fails with the error, and every later one with ErrShutdown.
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			client := open(t, d)
			return func(ctx context.Context) error {
				err := say(ctx, client)
				assert.Equal(t, rpc.ErrShutdown, say(ctx, client))
				return err
			}
		}, theError, theError)
	})
}

func say(ctx context.Context, client *rpc.Client) error {
	var heard string
	err := within(ctx, func() error { return client.Call("Echo.Say", "word", &heard) })
	if err == nil && heard != "word" {
		err = fmt.Errorf("heard %q", heard)
	}
	return err
}

// Echo is a service of net/rpc.
type Echo struct{}

// Say answers what it hears.
func (Echo) Say(word string, reply *string) error {
	*reply = word
	return nil
}

func serveRPC(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	server := rpc.NewServer()
	require.NoError(t, server.Register(Echo{}))
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	go serve(ln, func(conn io.ReadWriteCloser) { server.ServeConn(conn) })
	return ln.Addr().String()
}
