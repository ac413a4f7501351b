//go:build !keepalive_portable

package keepalive_test

import (
	"fmt"
	"log"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

func ExampleConfig_Apply() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	policy := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	if err := policy.Apply(conn); err != nil {
		log.Fatal(err)
	}
	held, err := keepalive.Get(conn)
	fmt.Println(held == policy, err)
	// Output: true <nil>
}

func ExampleGet() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	held, err := keepalive.Get(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("net has set", held.Idle, held.Interval, held.Count)
	// Output: net has set 15s 15s 9
}

func ExampleStat() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	status, err := keepalive.Stat(conn)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("open: %t, suspect: %t, %d probes unanswered\n", status.Open, status.Suspect(), status.Probes)
	// Output: open: true, suspect: false, 0 probes unanswered
}
