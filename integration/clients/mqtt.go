package clients

import (
	"context"
	"net"
	"net/url"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/seed-7be6acb7/keepalive"
)

// MQTT returns a client that is not connected yet, and that reports a broker that
// was lost before it connects again.
func MQTT(broker string, dial keepalive.DialFunc, lost func(error)) mqtt.Client {
	options := mqtt.NewClientOptions().AddBroker(broker).
		SetCustomOpenConnectionFn(func(broker *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			return dial(context.Background(), "tcp", broker.Host)
		}).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) {
			if keepalive.IsPeerLost(err) {
				lost(err) // messages may have been missed
			}
		})
	return mqtt.NewClient(options)
}
