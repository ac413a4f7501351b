package clients

import (
	"github.com/seed-7be6acb7/keepalive"
	"github.com/twmb/franz-go/pkg/kgo"
)

// FranzGo is a Kafka client.
func FranzGo(broker string, dial keepalive.DialFunc) (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(broker), kgo.Dialer(dial))
}
