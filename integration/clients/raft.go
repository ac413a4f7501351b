package clients

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/seed-7be6acb7/keepalive"
)

// streamLayer implements raft.StreamLayer.
type streamLayer struct {
	net.Listener
	dial keepalive.DialFunc
}

func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dial(ctx, "tcp", string(address))
}

// Raft is the transport of a node that listens on ln, which a
// keepalive.ListenConfig has opened.
func Raft(ln net.Listener, dial keepalive.DialFunc) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  streamLayer{ln, dial},
		MaxPool: 3,
		Timeout: 10 * time.Second,
	})
}
