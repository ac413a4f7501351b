package integration_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A subscriber that hears nothing for a while.
func TestRedis(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address, server := startRedis(t, lab.Server)
	publisher := clients.Redis(address, plain(lab.Server).DialContext)
	t.Cleanup(func() { publisher.Close() })
	usual := &dialer{host: lab.Client, dial: redis.NewDialer(&redis.Options{})}

	t.Run("subscriber", func(t *testing.T) {
		t.Parallel()
		channels := 0
		withAndWithout(t, usual, tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			channels++
			channel := fmt.Sprintf("channel%d", channels)
			sub := subscribe(t, address, d, channel)
			hear := func(ctx context.Context, word string) error {
				if err := publisher.Publish(ctx, channel, word).Err(); err != nil {
					return fmt.Errorf("publisher: %w", err)
				}
				// Channel would not do here: it pings a silent server every 3 s.
				message, err := sub.ReceiveTimeout(ctx, patience)
				if err != nil {
					return err
				}
				if m, ok := message.(*redis.Message); !ok || m.Payload != word {
					return fmt.Errorf("heard %v, want %q", message, word)
				}
				return nil
			}
			require.NoError(t, hear(soon(t), "before"))
			return func(ctx context.Context) error { return hear(ctx, "after") }
		})
		held := usual.held(t)
		assert.Equal(t, "30s 5s 3", fmt.Sprint(held.Idle, held.Interval, held.Count), "docs/clients.md tells what go-redis sets")
	})
	t.Run("server", func(t *testing.T) {
		d := plain(lab.Client)
		subscribe(t, address, d, "any")
		want := keepalive.Config{Idle: 300 * time.Second, Interval: 100 * time.Second, Count: 3}
		assert.Equal(t, want, heldByServer(t, server, d), "tcp-keepalive")
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		// go-redis peeks at what it is about to read, and reads on.
		t.Run("Receive", func(t *testing.T) {
			losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
				sub := subscribe(t, address, d, "silent")
				return func(ctx context.Context) error {
					_, err := sub.Receive(ctx)
					return err
				}
			}, another(io.EOF), theError)
		})
		t.Run("command", func(t *testing.T) {
			losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
				client := clients.Redis(address, d.DialContext)
				t.Cleanup(func() { client.Close() })
				require.NoError(t, client.Ping(soon(t)).Err())
				// WAIT answers after its timeout, as there is no replica.
				return func(ctx context.Context) error { return client.Wait(ctx, 1, 2*time.Second).Err() }
			}, retried, theError)
		})
	})
}

func subscribe(t *testing.T, address string, d *dialer, channel string) *redis.PubSub {
	t.Helper()
	client := clients.Redis(address, d.DialContext)
	t.Cleanup(func() { client.Close() })
	sub := client.Subscribe(t.Context(), channel)
	t.Cleanup(func() { sub.Close() })
	_, err := sub.Receive(soon(t)) // the confirmation
	require.NoError(t, err)
	return sub
}

func startRedis(t *testing.T, host *netlab.Host, args ...string) (address string, server *os.Process) {
	t.Helper()
	cmd := exec.Command(netlab.LookPath(t, "redis-server"), append([]string{"--bind", host.IPv4, "--port", "6379",
		"--protected-mode", "no", "--save", "", "--dir", t.TempDir()}, args...)...)
	startServer(t, host, cmd, "Ready to accept connections", syscall.SIGTERM)
	return host.Address("tcp", 6379), cmd.Process
}
