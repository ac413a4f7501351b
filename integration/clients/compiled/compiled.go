// Package compiled holds the snippets of docs/clients.md for the clients that
// are not run against a server here. That they compile shows that the hook exists
// and takes what is given to it.
package compiled

import (
	"context"
	"net"
	"time"

	"github.com/IBM/sarama"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/segmentio/kafka-go"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/net/proxy"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Mongo opens a pool.
func Mongo(uri string, dialer options.ContextDialer) (*mongo.Client, error) {
	return mongo.Connect(options.Client().ApplyURI(uri).SetDialer(dialer))
}

// Sarama is a Kafka client.
func Sarama(broker string, dialer proxy.Dialer) (sarama.Client, error) {
	config := sarama.NewConfig()
	config.Net.Proxy.Enable = true
	config.Net.Proxy.Dialer = dialer
	return sarama.NewClient([]string{broker}, config)
}

// KafkaGoReader consumes a topic.
func KafkaGoReader(broker, topic string, dial keepalive.DialFunc) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{broker},
		Topic:   topic,
		Dialer:  &kafka.Dialer{Timeout: 10 * time.Second, DialFunc: dial},
	})
}

// KafkaGoWriter produces to a topic.
func KafkaGoWriter(broker, topic string, dial keepalive.DialFunc) *kafka.Writer {
	return &kafka.Writer{
		Addr:      kafka.TCP(broker),
		Topic:     topic,
		Transport: &kafka.Transport{Dial: dial},
	}
}

// AMQP opens a connection.
func AMQP(url string, dial keepalive.DialFunc) (*amqp.Connection, error) {
	connect := func(network, address string) (net.Conn, error) {
		conn, err := dial(context.Background(), network, address)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
	return amqp.DialConfig(url, amqp.Config{Dial: connect})
}

// ClientGo is a client of a Kubernetes API server.
func ClientGo(config *rest.Config, dial keepalive.DialFunc) (dynamic.Interface, error) {
	config.Dial = dial
	return dynamic.NewForConfig(config)
}
