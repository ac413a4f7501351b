package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A watch of a key that does not change for a while.
func TestEtcd(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	address := startEtcd(t, lab.Server)
	writer := connectEtcd(t, address, plain(lab.Server))

	var keys atomic.Int32
	watch := func(t *testing.T, d *dialer) func(ctx context.Context, value string) error {
		key := fmt.Sprint("key", keys.Add(1))
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		changes := connectEtcd(t, address, d).Watch(ctx, key)
		hear := func(ctx context.Context, value string) error {
			if _, err := writer.Put(ctx, key, value); err != nil {
				return fmt.Errorf("writer: %w", err)
			}
			select {
			case change, ok := <-changes:
				if !ok || change.Err() != nil {
					return errors.Join(errors.New("the watch has ended"), change.Err())
				}
				if got := string(change.Events[0].Kv.Value); got != value {
					return fmt.Errorf("heard %q, want %q", got, value)
				}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		require.NoError(t, hear(soon(t), "before"))
		return hear
	}
	after := func(t *testing.T, d *dialer) func(context.Context) error {
		hear := watch(t, d)
		return func(ctx context.Context) error { return hear(ctx, "after") }
	}
	t.Run("watch", func(t *testing.T) {
		t.Parallel()
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), after)
	})
	t.Run("loss", func(t *testing.T) {
		losesPeer(t, lab.Client, after, retried, retried)
	})
}

// The listener of etcd's servers, embedded ones too, sets an Idle of its own.
func TestEtcdListener(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	inner := lab.Server.Listen(t, &keepalive.ListenConfig{Config: policy}, "tcp4", 0)
	ln, err := transport.NewKeepAliveListener(inner, "tcp", nil)
	require.NoError(t, err)
	_, err = plain(lab.Client).Dial("tcp4", ln.Addr().String())
	require.NoError(t, err)
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	want := policy
	want.Idle = 30 * time.Second
	assert.Equal(t, want, held(t, conn))
}

func connectEtcd(t *testing.T, address string, d *dialer) *clientv3.Client {
	t.Helper()
	client, err := clients.Etcd([]string{address}, d.DialContext)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client
}

func startEtcd(t *testing.T, host *netlab.Host) (address string) {
	t.Helper()
	url, peers := "http://"+host.Address("tcp", 2379), "http://"+host.Address("tcp", 2380)
	cmd := exec.Command(netlab.LookPath(t, "etcd"), "--data-dir", t.TempDir(), "--name", "node",
		"--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "node="+peers)
	startServer(t, host, cmd, "ready to serve client requests", syscall.SIGTERM)
	return host.Address("tcp", 2379)
}
