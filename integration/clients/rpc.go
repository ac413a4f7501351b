package clients

import (
	"context"
	"net/rpc"

	"github.com/seed-7be6acb7/keepalive"
)

// RPC opens a client.
func RPC(ctx context.Context, address string, dial keepalive.DialFunc) (*rpc.Client, error) {
	conn, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return rpc.NewClient(conn), nil
}
