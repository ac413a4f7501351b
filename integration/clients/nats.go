package clients

import (
	"github.com/nats-io/nats.go"
	"github.com/seed-7be6acb7/keepalive"
)

// NATS connects, and reports a server that was lost before it connects again.
func NATS(url string, dialer nats.CustomDialer, lost func(error)) (*nats.Conn, error) {
	return nats.Connect(url, nats.SetCustomDialer(dialer),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if keepalive.IsPeerLost(err) {
				lost(err) // messages were missed
			}
		}))
}
