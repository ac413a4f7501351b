package keepalive_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// A client that keeps one connection for a long time and mostly listens.
func Example_client() {
	d := &keepalive.Dialer{
		NetDialer: &net.Dialer{Timeout: 10 * time.Second},
		Config:    keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	conn, err := d.Dial("tcp", "primary.example:5432")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

// A primary that its replicas stay connected to.
func Example_listener() {
	lc := &keepalive.ListenConfig{
		Config: keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	ln, err := lc.Listen(context.Background(), "tcp", ":5432")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
}

// Every connection of an HTTP client, pooled ones included.
func Example_transport() {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&keepalive.Dialer{
		NetDialer: &net.Dialer{Timeout: 30 * time.Second},
		Config:    keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3},
	}).DialContext
	client := &http.Client{Transport: transport}
	defer client.CloseIdleConnections()
}

// A dialer that is not a net.Dialer, such as that of golang.org/x/net/proxy.
func ExampleConfig_WrapDial() {
	var proxy interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = new(net.Dialer)

	policy := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	transport := &http.Transport{DialContext: policy.WrapDial(proxy.DialContext)}
	defer transport.CloseIdleConnections()
}

// A listener that somebody else opened: by socket activation, or for MPTCP.
func ExampleNewListener() {
	inherited, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ln, err := keepalive.NewListener(inherited, keepalive.Config{Idle: 60 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
}

// A dialer of one's own keeps its type: Control is all that it needs, and that
// net leaves the socket alone afterwards.
func ExampleConfig_Control() {
	policy := keepalive.Config{Idle: 60 * time.Second}
	d := &net.Dialer{Control: policy.Control, KeepAlive: -1}
	fmt.Println(d.KeepAliveConfig.Enable)
	// Output: false
}

func ExampleConfig_Validate() {
	fmt.Println(keepalive.Config{Idle: 10 * time.Hour}.Validate())
	// Output: keepalive: Idle is 10h0m0s, want 1s to 9h6m7s (32767 s), or 0 for the system's default
}
