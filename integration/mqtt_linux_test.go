package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A subscriber that hears nothing for a while.
func TestMQTT(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	broker, server := startMosquitto(t, lab.Server)
	publisher := connectMQTT(t, clients.MQTT(broker, plain(lab.Server).DialContext, func(error) {}))

	t.Run("subscriber", func(t *testing.T) {
		t.Parallel()
		topics := 0
		withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
			topics++
			topic := fmt.Sprint("topic", topics)
			client := connectMQTT(t, clients.MQTT(broker, d.DialContext, func(error) {}))
			heard := make(chan string, 8)
			done(t, client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { heard <- string(m.Payload()) }))
			hear := func(ctx context.Context, word string) error {
				done(t, publisher.Publish(topic, 1, false, word))
				select {
				case got := <-heard:
					if got != word {
						return fmt.Errorf("heard %q, want %q", got, word)
					}
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			require.NoError(t, hear(soon(t), "before"))
			return func(ctx context.Context) error { return hear(ctx, "after") }
		})
	})
	t.Run("server", func(t *testing.T) {
		d := plain(lab.Client)
		connectMQTT(t, clients.MQTT(broker, d.DialContext, func(error) {}))
		assert.Equal(t, off, heldByServer(t, server, d))
	})
	t.Run("loss", func(t *testing.T) {
		t.Parallel()
		losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
			lost := make(chan error, 8)
			connectMQTT(t, clients.MQTT(broker, d.DialContext, func(err error) { lost <- err }))
			return func(ctx context.Context) error { return receive(ctx, lost) }
		}, theError, theError)
	})

	// The client's own ping is late, even if it is as frequent as can be: it waits
	// for PingTimeout, and looks once in a while.
	t.Run("ping", func(t *testing.T) {
		t.Parallel()
		d := plain(lab.Client)
		lost := make(chan error, 8)
		options := mqtt.NewClientOptions().AddBroker(broker).SetKeepAlive(2 * time.Second).SetAutoReconnect(false).
			SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
				return d.Dial("tcp4", lab.Server.Address("tcp4", 1883))
			}).
			SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
		connectMQTT(t, mqtt.NewClient(options))
		netlab.MustSilence(t, d.conns[0].(*net.TCPConn))
		since := time.Now()
		assert.EqualError(t, next(t, lost), "pingresp not received, disconnecting")
		tcptest.AssertWithin(t, since, 9*time.Second, 14*time.Second) // a ping may have been on its way
	})
}

// connectMQTT connects a client until the test ends.
func connectMQTT(t *testing.T, client mqtt.Client) mqtt.Client {
	t.Helper()
	done(t, client.Connect())
	t.Cleanup(func() { client.Disconnect(0) })
	return client
}

func done(t *testing.T, token mqtt.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(time.Minute))
	require.NoError(t, token.Error())
}

func startMosquitto(t *testing.T, host *netlab.Host) (broker string, server *os.Process) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	require.NoError(t, os.WriteFile(config, []byte("listener 1883 "+host.IPv4+"\nallow_anonymous true\nuser root\n"), 0o600))
	cmd := exec.Command(netlab.LookPath(t, "mosquitto"), "-c", config)
	startServer(t, host, cmd, " running", syscall.SIGTERM)
	return "tcp://" + host.Address("tcp", 1883), cmd.Process
}
