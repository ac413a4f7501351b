package integration_test

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A subscriber that hears nothing for a while.
func TestRedis(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address := startRedis(t, lab.Server)
	publisher := clients.Redis(address, plain(lab.Server))
	t.Cleanup(func() { publisher.Close() })
	usual := &dialer{host: lab.Client, dial: redis.NewDialer(&redis.Options{})}

	channels := 0
	withAndWithout(t, usual, tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
		channels++
		channel := fmt.Sprintf("channel%d", channels)
		client := clients.Redis(address, d)
		t.Cleanup(func() { client.Close() })
		sub := client.Subscribe(t.Context(), channel)
		t.Cleanup(func() { sub.Close() })
		_, err := sub.Receive(t.Context()) // the confirmation
		require.NoError(t, err)

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
		require.NoError(t, hear(t.Context(), "before"))
		return func(ctx context.Context) error { return hear(ctx, "after") }
	})
	held := usual.held(t)
	assert.Equal(t, "30s 5s 3", fmt.Sprint(held.Idle, held.Interval, held.Count), "docs/clients.md tells what go-redis sets")
}

func startRedis(t *testing.T, host *netlab.Host, args ...string) (address string) {
	t.Helper()
	cmd := exec.Command(find(t, "redis-server"), append([]string{"--bind", host.IPv4, "--port", "6379",
		"--protected-mode", "no", "--save", "", "--dir", t.TempDir()}, args...)...)
	startServer(t, host, cmd, "Ready to accept connections", syscall.SIGTERM)
	return host.Address("tcp", 6379)
}
