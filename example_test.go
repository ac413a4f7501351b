package keepalive_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
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

// A dialer that is not a net.Dialer, such as one for TLS.
func ExampleConfig_WrapDial() {
	policy := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	transport := &http.Transport{DialTLSContext: policy.WrapDial(new(tls.Dialer).DialContext)}
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

func ExampleConfig_String() {
	fmt.Println(keepalive.Config{})
	fmt.Println(keepalive.Config{Disable: true})
	fmt.Println(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second})
	// Output:
	// default
	// off
	// idle=1m0s,interval=5s,count=3,user_timeout=1m15s
}

func ExampleParse() {
	policy, err := keepalive.Parse("idle=60s, interval=5s, count=3")
	fmt.Println(policy.Idle, policy.Interval, policy.Count, err)
	_, err = keepalive.Parse("idle=60")
	fmt.Println(err)
	// Output:
	// 1m0s 5s 3 <nil>
	// keepalive: "idle=60": time: missing unit in duration "60", want "default" alone, or any of off, idle=1m, interval=5s, count=3, user_timeout=1m15s, with commas between them
}

func Example_flag() {
	var policy keepalive.Config
	flags := flag.NewFlagSet("replica", flag.ExitOnError)
	flags.TextVar(&policy, "keepalive", keepalive.Config{Idle: 60 * time.Second}, "keepalive `policy` of the replication link")

	flags.Parse([]string{"-keepalive", "idle=60s,interval=5s,count=3"})
	fmt.Println(policy)
	// Output: idle=1m0s,interval=5s,count=3
}

// The environment, where a variable that is not set means the default.
func Example_environment() {
	os.Setenv("REPLICA_KEEPALIVE", "idle=60s,interval=5s,count=3")

	policy, err := keepalive.Parse(cmp.Or(os.Getenv("REPLICA_KEEPALIVE"), "default"))
	fmt.Println(policy, err)
	// Output: idle=1m0s,interval=5s,count=3 <nil>
}

func Example_json() {
	file := strings.NewReader(`{"primary": "primary.example:5432", "keepalive": "idle=60s,interval=5s,count=3"}`)

	var settings struct {
		Primary   string           `json:"primary"`
		Keepalive keepalive.Config `json:"keepalive"`
	}
	err := json.NewDecoder(file).Decode(&settings)
	fmt.Println(settings.Keepalive, err)
	// Output: idle=1m0s,interval=5s,count=3 <nil>
}
