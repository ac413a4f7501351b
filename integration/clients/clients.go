// Package clients holds the snippets of docs/clients.md for the clients and
// servers that the tests of this module run. Package compiled holds the others.
package clients

import (
	"context"
	"expvar"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// NewDialer returns the dialer of every client.
func NewDialer() *keepalive.Dialer {
	return &keepalive.Dialer{
		NetDialer: &net.Dialer{Timeout: 10 * time.Second},
		Config:    keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
}

// NewNetDialer returns the dialer of clients that take a *net.Dialer.
func NewNetDialer() (*net.Dialer, error) {
	d := NewDialer()
	return d.Config.NetDialer(d.NetDialer)
}

var lostPeers = expvar.NewInt("lost_peers")

// CountLosses returns a dial function that counts the peers that its connections
// lose.
func CountLosses(dial keepalive.DialFunc) keepalive.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return keepalive.Watch(conn, func(error) { lostPeers.Add(1) }), nil
	}
}
