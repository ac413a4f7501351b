package integration_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A subscriber that hears nothing for a while.
func TestNATS(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	url, server := startNATS(t, lab.Server)
	publisher := connectNATS(t, url, plain(lab.Server), nil)

	t.Run("subscriber", func(t *testing.T) {
		t.Parallel()
		subjects := 0
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			subjects++
			subject := fmt.Sprint("subject", subjects)
			nc := connectNATS(t, url, d, nil)
			sub, err := nc.SubscribeSync(subject)
			require.NoError(t, err)
			require.NoError(t, nc.Flush())
			hear := func(ctx context.Context, word string) error {
				if err := publisher.Publish(subject, []byte(word)); err != nil {
					return fmt.Errorf("publisher: %w", err)
				}
				message, err := sub.NextMsgWithContext(ctx)
				if err == nil && string(message.Data) != word {
					err = fmt.Errorf("heard %q, want %q", message.Data, word)
				}
				return err
			}
			require.NoError(t, hear(soon(t), "before"))
			return func(ctx context.Context) error { return hear(ctx, "after") }
		})
	})
	t.Run("server", func(t *testing.T) {
		d := plain(lab.Client)
		connectNATS(t, url, d, nil)
		assert.Equal(t, off, heldByServer(t, server, d))
	})
	t.Run("loss", func(t *testing.T) {
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			lost := make(chan error, 8)
			connectNATS(t, url, d, lost)
			return func(ctx context.Context) error { return receive(ctx, lost) }
		}, theError, theError)
	})
}

func connectNATS(t *testing.T, url string, d *dialer, lost chan error) *nats.Conn {
	t.Helper()
	nc, err := clients.NATS(url, d, func(err error) { lost <- err })
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

func startNATS(t *testing.T, host *netlab.Host) (url string, server *os.Process) {
	t.Helper()
	cmd := exec.Command(netlab.LookPath(t, "nats-server"), "--addr", host.IPv4, "--port", "4222")
	startServer(t, host, cmd, "Server is ready", syscall.SIGINT)
	return "nats://" + host.Address("tcp", 4222), cmd.Process
}
