package clients

import (
	"context"
	"net"

	"github.com/seed-7be6acb7/keepalive"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// GRPC connects to a server when it is first called.
func GRPC(target string, dial keepalive.DialFunc, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	dialTCP := func(ctx context.Context, address string) (net.Conn, error) {
		return dial(ctx, "tcp", address)
	}
	return grpc.NewClient(target, append(options, grpc.WithContextDialer(dialTCP))...)
}

// ServeGRPC serves connections that inherit the policy.
func ServeGRPC(ctx context.Context, address string, server *grpc.Server, policy keepalive.Config) error {
	lc := &keepalive.ListenConfig{Config: policy}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return server.Serve(ln)
}

// Etcd opens a client of a cluster.
func Etcd(endpoints []string, dial keepalive.DialFunc) (*clientv3.Client, error) {
	dialTCP := func(ctx context.Context, address string) (net.Conn, error) {
		return dial(ctx, "tcp", address)
	}
	return clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(dialTCP)},
	})
}
