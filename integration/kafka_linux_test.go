package integration_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A consumer of a topic on which nothing is said for a while. It has several
// connections, all with the policy.
func TestFranzGo(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	broker := serveKafka(t, lab.Server, "silence0", "silence1", "loss0", "loss1")
	producer := openFranzGo(t, broker, plain(lab.Server))

	t.Run("consumer", func(t *testing.T) {
		t.Parallel()
		usual, tuned := plain(lab.Client), tuned(lab.Client, policy)
		dialed := 0
		acrossSilence(t,
			way{"without keepalive.Dialer", func(t *testing.T) func(context.Context) error {
				return consume(t, producer, openFranzGo(t, broker, usual), "silence0")
			}, false},
			way{"with keepalive.Dialer", func(t *testing.T) func(context.Context) error {
				hear := consume(t, producer, openFranzGo(t, broker, tuned), "silence1")
				dialed = tuned.count()
				return hear
			}, true})
		assert.Equal(t, dialed, tuned.count(), "the client has connected anew")
		for _, conn := range tuned.conns {
			assert.Equal(t, policy, held(t, conn))
		}
	})

	// The consumer hears what is said on another connection.
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		for i, name := range []string{"without Watch", "with Watch"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := tuned(lab.Client, policy)
				if name == "with Watch" {
					d.lost = make(chan error, 8)
				}
				dialed := 0
				err := awaitLoss(t, d, func(t *testing.T, d *dialer) func(context.Context) error {
					hear := consume(t, producer, openFranzGo(t, broker, d), fmt.Sprint("loss", i))
					dialed = d.count()
					return hear
				})
				assert.NoError(t, err)
				assert.Greater(t, d.count(), dialed)
				if d.lost != nil {
					theError(t, d, next(t, d.lost))
				}
			})
		}
	})
}

// consume consumes a topic, and returns what produces a record and hears it.
func consume(t *testing.T, producer, consumer *kgo.Client, topic string) func(context.Context) error {
	t.Helper()
	consumer.AddConsumeTopics(topic)
	hear := func(ctx context.Context, word string) error {
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(word)}).FirstErr(); err != nil {
			return fmt.Errorf("producer: %w", err)
		}
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		if got := string(fetches.Records()[0].Value); got != word {
			return fmt.Errorf("heard %q, want %q", got, word)
		}
		return nil
	}
	require.NoError(t, hear(soon(t), "before"))
	return func(ctx context.Context) error { return hear(ctx, "after") }
}

func openFranzGo(t *testing.T, broker string, d *dialer) *kgo.Client {
	t.Helper()
	client, err := clients.FranzGo(broker, d.DialContext)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func serveKafka(t *testing.T, host *netlab.Host, topics ...string) (broker string) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topics...),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return host.Listen(t, plainListen(), "tcp4", 0), nil }))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}
