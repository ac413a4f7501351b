package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pooled connection that is idle for a while.
func TestMemcache(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address := serveMemcache(t, lab.Server)
	open := func(t *testing.T, d *dialer) *memcache.Client {
		client := clients.Memcache(d.DialContext, address)
		client.Timeout = patience // the default is half a second
		t.Cleanup(func() { client.Close() })
		require.NoError(t, get(client))
		return client
	}
	t.Run("pool", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			client := open(t, d)
			return func(context.Context) error { return get(client) } // for Timeout at most
		})
	})

	// A call that finds a dead connection in the pool fails. The next one dials.
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			client := open(t, d)
			return func(ctx context.Context) error {
				if err := d.givenUp(ctx); err != nil {
					return fmt.Errorf("the kernel has not given up the connection: %w", err)
				}
				err := get(client)
				assert.NoError(t, get(client), "by another connection")
				return err
			}
		}, theError, theError)
	})
}

func get(client *memcache.Client) error {
	item, err := client.Get("key")
	if err == nil && string(item.Value) != "value" {
		err = fmt.Errorf("got %q", item.Value)
	}
	return err
}

// serveMemcache answers every line as the command gets of one key.
func serveMemcache(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	go serve(ln, func(conn io.ReadWriteCloser) {
		defer conn.Close()
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			_, key, _ := strings.Cut(lines.Text(), " ")
			if _, err := fmt.Fprintf(conn, "VALUE %s 0 5 1\r\nvalue\r\nEND\r\n", key); err != nil {
				return
			}
		}
	})
	return ln.Addr().String()
}
