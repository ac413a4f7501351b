package integration_test

import (
	"context"
	"testing"

	"github.com/pkg/sftp"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// A client that transfers no file for a while.
func TestSFTP(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address := serveSFTP(t, lab.Server)
	config := &ssh.ClientConfig{User: "replica", HostKeyCallback: ssh.InsecureIgnoreHostKey()}
	open := func(t *testing.T, d *dialer) (*sftp.Client, context.Context, *ssh.Client) {
		conn, alive, err := clients.SSH(soon(t), address, config, d.DialContext)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		client, err := sftp.NewClient(conn)
		require.NoError(t, err)
		require.NoError(t, list(soon(t), client))
		return client, alive, conn
	}
	t.Run("silence", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			client, _, _ := open(t, d)
			return func(ctx context.Context) error { return list(ctx, client) }
		})
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		var alive context.Context
		var conn *ssh.Client
		d := tuned(lab.Client, policy)
		err := awaitLoss(t, d, func(t *testing.T, d *dialer) func(context.Context) error {
			var client *sftp.Client
			client, alive, conn = open(t, d)
			return func(ctx context.Context) error { return list(ctx, client) }
		})
		assert.ErrorIs(t, err, sftp.ErrSSHFxConnectionLost)
		theError(t, d, context.Cause(alive))
		theError(t, d, conn.Wait())
	})
}

func list(ctx context.Context, client *sftp.Client) error {
	return within(ctx, func() error {
		_, err := client.ReadDir("/")
		return err
	})
}

// serveSFTP serves a folder in memory.
func serveSFTP(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	return serveChannels(t, host, func(channel ssh.Channel, requests <-chan *ssh.Request) {
		defer channel.Close()
		for request := range requests {
			isSFTP := request.Type == "subsystem"
			request.Reply(isSFTP, nil)
			if isSFTP {
				break
			}
		}
		go ssh.DiscardRequests(requests)
		sftp.NewRequestServer(channel, sftp.InMemHandler()).Serve()
	})
}
