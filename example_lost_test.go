package keepalive_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

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
