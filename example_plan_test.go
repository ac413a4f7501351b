package keepalive_test

import (
	"fmt"
	"log"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

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

// A replica has to notice within 30 s that its primary is gone, whether it
// waits for data or for an acknowledgement.
func ExamplePlan_unacked() {
	c, err := keepalive.Plan(keepalive.Target{
		Detect:    30 * time.Second,
		IdleLimit: 350 * time.Second,
		Unacked:   true,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Idle, c.Interval, c.Count, c.UserTimeout)
	// Output: 14s 4s 3 26s
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
