//go:build !keepalive_portable

package pathidle_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/pathidle"
)

// cautious suits most paths, at the cost of more probes than most need.
var cautious = keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}

// policyFor returns a policy for the path to a server, or cautious where nothing
// is found out in time.
func policyFor(ctx context.Context, address string, o *pathidle.Options) keepalive.Config {
	ctx, cancel := context.WithTimeout(ctx, o.Duration(0)*2)
	defer cancel()
	result, err := pathidle.Measure(ctx, "tcp", address, o)
	if err != nil {
		log.Print(err) // what is known by then may be much too low
		return cautious
	}
	c, err := result.Plan(keepalive.Target{})
	if err != nil {
		log.Print(result, ": ", err)
		return cautious
	}
	return c
}

// A replica starts with a policy that suits most paths. While its link is in use
// it measures the path, and then applies the policy that suits that.
func Example_replication() {
	primary, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer primary.Close()

	d := &keepalive.Dialer{Config: cautious}
	link, err := d.Dial("tcp", primary.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	fmt.Println("at first:", d.Config)

	// An hour is the default of Max. There is nothing in between here.
	measured := make(chan keepalive.Config)
	go func() {
		measured <- policyFor(context.Background(), primary.Addr().String(), &pathidle.Options{Max: 3 * time.Second})
	}()

	d.Config = <-measured // for the next link
	if err := d.Config.Apply(link); err != nil {
		log.Fatal(err)
	}
	held, err := keepalive.Get(link)
	if err != nil {
		log.Fatal(err)
	}
	// How much shorter depends on when the question about Max gets asked.
	fmt.Println("measured, idle is shorter:", held.Idle < cautious.Idle)
	// Output:
	// at first: idle=1m0s,interval=5s,count=3
	// measured, idle is shorter: true
}
