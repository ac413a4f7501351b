package keepalive_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"expvar"
	"flag"
	"fmt"
	"io"
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
		Config: keepalive.Config{
			Idle:     60 * time.Second, // silence before the first probe
			Interval: 5 * time.Second,  // between probes
			Count:    3,                // unanswered probes until the peer is dead
		},
	}
	conn, err := d.Dial("tcp", "primary.example:5432")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

// A program that bounds data in flight where the kernel has MaxRTO, and runs
// without that bound elsewhere.
func Example_portable() {
	policy := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3, MaxRTO: 2 * time.Second}
	d := &keepalive.Dialer{Config: policy.Supported()}
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

// A listener that systemd has opened and handed over as descriptor 3. Without
// NewListener net would set 15 s / 15 s / 9 on its connections.
func ExampleNewListener() {
	inherited, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		log.Fatal(err)
	}
	policy, err := keepalive.GetListener(inherited) // as the unit file has it
	if err != nil {
		log.Fatal(err)
	}
	ln, err := keepalive.NewListener(inherited, policy)
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
}

// A metric that counts lost peers, in a client that swallows the error.
func ExampleWatch() {
	lost := expvar.NewInt("peers_lost")
	d := &keepalive.Dialer{Config: keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}}
	conn, err := d.Dial("tcp", "primary.example:5432")
	if err != nil {
		log.Fatal(err)
	}
	conn = keepalive.Watch(conn, func(error) { lost.Add(1) })
	defer conn.Close()
}

func ExampleWatcher() {
	conn, err := net.Dial("tcp", "primary.example:5432")
	if err != nil {
		log.Fatal(err)
	}
	w := &keepalive.Watcher{
		Unacked: 20 * time.Second,
		Lost:    func(conn net.Conn, err error) { log.Print(conn.RemoteAddr(), ": ", err) },
	}
	watched, err := w.Watch(conn)
	if err != nil {
		log.Fatal(err) // conn is open and as it was
	}
	defer watched.Close()
}

// A function that takes a *net.Dialer.
func ExampleConfig_NetDialer() {
	policy := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	d, err := policy.NetDialer(&net.Dialer{Timeout: 10 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	conn, err := tls.DialWithDialer(d, "tcp", "primary.example:5432", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

func ExampleConfig_Validate() {
	fmt.Println(keepalive.Config{Idle: 10 * time.Hour}.Validate())
	// Output: keepalive: Idle is 10h0m0s, want 1s to 9h6m7s (32767 s), or 0 for the system default
}

func ExampleConfig_String() {
	fmt.Println(keepalive.Config{})
	fmt.Println(keepalive.Config{Disable: true})
	fmt.Println(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, MaxRTO: 2 * time.Second})
	// Output:
	// default
	// off
	// idle=1m0s,interval=5s,count=3,max_rto=2s
}

func ExampleParse() {
	policy, err := keepalive.Parse("idle=60s, interval=5s, count=3")
	fmt.Println(policy.Idle, policy.Interval, policy.Count, err)
	_, err = keepalive.Parse("idle=60")
	fmt.Println(err)
	// Output:
	// 1m0s 5s 3 <nil>
	// keepalive: "idle=60": time: missing unit in duration "60", want a duration such as 1m
}

func Example_flag() {
	var policy keepalive.Config
	flags := flag.NewFlagSet("replica", flag.ExitOnError)
	flags.TextVar(&policy, "keepalive", keepalive.Config{Idle: 60 * time.Second}, "keepalive `policy` of the link")

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

// A firewall on the path forgets connections that were idle for 350 s.
func ExamplePlan() {
	c, err := keepalive.Plan(keepalive.Target{IdleLimit: 350 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Idle, c.Interval, c.Count)
	d, _ := c.DetectionTime()
	fmt.Println("a silent peer goes unnoticed for", d)
	// Output:
	// 3m54s 1m17s 3
	// a silent peer goes unnoticed for 7m45s
}

// A replica has to notice an idle primary that has died within 30 s.
func ExamplePlan_detect() {
	c, err := keepalive.Plan(keepalive.Target{
		Detect:    30 * time.Second,
		IdleLimit: 350 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Idle, c.Interval, c.Count)
	// Output: 14s 4s 3
}

// The same, and with data in flight as well.
func ExamplePlan_unacked() {
	c, err := keepalive.Plan(keepalive.Target{
		Detect:    30 * time.Second,
		IdleLimit: 350 * time.Second,
		Unacked:   true,
		SlowReads: true, // spare live peers
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Idle, c.Interval, c.Count, c.MaxRTO)
	// Output: 14s 4s 3 1s
}

func ExamplePlan_impossible() {
	_, err := keepalive.Plan(keepalive.Target{Detect: time.Second})
	fmt.Println(err)
	// Output: keepalive: Detect is 1s, want 4.5s or more, or 0 for no demand
}

func ExampleConfig_DetectionTime() {
	c := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	fmt.Println(c.DetectionTime())
	// Output: 1m15s true
}

// follow hands over what the primary sends, and calls idle where it sends
// nothing for a period. It returns nil once the primary has closed the connection.
func follow(primary net.Conn, period time.Duration, idle func(), apply func([]byte)) error {
	b := make([]byte, 4096)
	for {
		primary.SetReadDeadline(time.Now().Add(period))
		n, err := primary.Read(b)
		apply(b[:n])
		switch {
		case err == nil:
		case keepalive.IsPeerLost(err):
			return fmt.Errorf("primary lost: %w", err) // dial again
		case errors.Is(err, os.ErrDeadlineExceeded):
			idle()
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// followUsual takes every timeout for its own deadline. When the kernel gives
// the primary up, it does not end; and the Read that comes next takes the
// primary for one that has sent everything.
func followUsual(primary net.Conn, period time.Duration, idle func(), apply func([]byte)) error {
	b := make([]byte, 4096)
	for {
		primary.SetReadDeadline(time.Now().Add(period))
		n, err := primary.Read(b)
		apply(b[:n])
		var ne net.Error
		switch {
		case err == nil:
		case errors.As(err, &ne) && ne.Timeout():
			idle()
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

// A replica that reads on after its own deadline, but not after the end that
// the kernel has made. Beside it stands the usual loop, which misses that.
func ExampleIsPeerLost() {
	d := &keepalive.Dialer{Config: keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}}
	primary, err := d.Dial("tcp", "primary.example:5432")
	if err != nil {
		log.Fatal(err)
	}
	defer primary.Close()

	report := func() { log.Print("up to date") }
	apply := func(b []byte) { log.Printf("%d bytes", len(b)) }
	if err := follow(primary, 10*time.Second, report, apply); err != nil {
		log.Fatal(err)
	}
}
