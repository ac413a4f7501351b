// Package compiled holds the snippets of docs/clients.md for the clients that
// are not run against a server here. That they compile shows that the hook exists
// and takes what is given to it.
package compiled

import (
	"context"
	"database/sql"
	"net"
	"net/http"
	"time"

	"github.com/IBM/sarama"
	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/hashicorp/raft"
	"github.com/lib/pq"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"google.golang.org/grpc"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// pqDialer adds the one method that pq.Dialer has besides; pq calls DialContext.
type pqDialer struct{ *keepalive.Dialer }

func (d pqDialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// PQ is database access through lib/pq.
func PQ(dsn string, d *keepalive.Dialer) (*sql.DB, error) {
	connector, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	connector.Dialer(pqDialer{d})
	db := sql.OpenDB(connector)
	return db, nil
}

// PQListener is LISTEN through lib/pq.
func PQListener(dsn string, d *keepalive.Dialer) *pq.Listener {
	listener := pq.NewDialListener(pqDialer{d}, dsn, time.Second, time.Minute, nil)
	return listener
}

// Mongo takes the dialer as it is.
func Mongo(uri string, d *keepalive.Dialer) (*mongo.Client, error) {
	client, err := mongo.Connect(options.Client().ApplyURI(uri).SetDialer(d))
	return client, err
}

// FranzGo is a Kafka client.
func FranzGo(d *keepalive.Dialer) (*kgo.Client, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers("kafka.example:9092"), kgo.Dialer(d.DialContext))
	return client, err
}

// Sarama has a hook for a proxy only. A Dialer fits it; Sarama adds TLS around it.
func Sarama(d *keepalive.Dialer) (sarama.Client, error) {
	config := sarama.NewConfig()
	config.Net.Proxy.Enable = true
	config.Net.Proxy.Dialer = d
	client, err := sarama.NewClient([]string{"kafka.example:9092"}, config)
	return client, err
}

// KafkaGoReader consumes.
func KafkaGoReader(d *keepalive.Dialer) *kafka.Reader {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{"kafka.example:9092"},
		Topic:   "journal",
		Dialer:  &kafka.Dialer{Timeout: 10 * time.Second, DialFunc: d.DialContext},
	})
	return reader
}

// KafkaGoWriter produces. kafka.NewWriter would drop a DialFunc.
func KafkaGoWriter(d *keepalive.Dialer) *kafka.Writer {
	writer := &kafka.Writer{
		Addr:      kafka.TCP("kafka.example:9092"),
		Topic:     "journal",
		Transport: &kafka.Transport{Dial: d.DialContext},
	}
	return writer
}

// NATS takes the dialer as it is.
func NATS(d *keepalive.Dialer) (*nats.Conn, error) {
	nc, err := nats.Connect("nats://nats.example:4222", nats.SetCustomDialer(d))
	return nc, err
}

// AMQP has to be given the handshake's deadline, which amqp091-go clears
// afterwards.
func AMQP(d *keepalive.Dialer) (*amqp.Connection, error) {
	dial := func(network, address string) (net.Conn, error) {
		conn, err := d.Dial(network, address)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
	conn, err := amqp.DialConfig("amqp://mq.example", amqp.Config{Dial: dial})
	return conn, err
}

// Etcd is gRPC.
func Etcd(d *keepalive.Dialer) (*clientv3.Client, error) {
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{"etcd.example:2379"},
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(dial)},
	})
	return client, err
}

// Gorilla is a WebSocket client.
func Gorilla(ctx context.Context, d *keepalive.Dialer) (*gorilla.Conn, error) {
	ws := &gorilla.Dialer{NetDialContext: d.DialContext, HandshakeTimeout: 45 * time.Second}
	conn, _, err := ws.DialContext(ctx, "wss://ws.example/feed", nil)
	return conn, err
}

// Coder is a WebSocket client on an http.Client.
func Coder(ctx context.Context, d *keepalive.Dialer) (*coder.Conn, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext}
	conn, _, err := coder.Dial(ctx, "wss://ws.example/feed",
		&coder.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	return conn, err
}

// ClientGo is a client of a Kubernetes API server. The typed clientset takes the
// same rest.Config, and twice as long to compile.
func ClientGo(config *rest.Config, d *keepalive.Dialer) (dynamic.Interface, error) {
	config.Dial = d.DialContext
	client, err := dynamic.NewForConfig(config)
	return client, err
}

// streamLayer is a raft.StreamLayer with a policy in both directions.
type streamLayer struct {
	net.Listener
	dialer *keepalive.Dialer
}

func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dialer.DialContext(ctx, "tcp", string(address))
}

// Raft is the transport of a node.
func Raft(ctx context.Context, address string, d *keepalive.Dialer) (*raft.NetworkTransport, error) {
	lc := &keepalive.ListenConfig{Config: d.Config}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  streamLayer{ln, d},
		MaxPool: 3,
		Timeout: 10 * time.Second,
	})
	return transport, nil
}
