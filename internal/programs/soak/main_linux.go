// Soak tests a keepalive policy on very many connections at once, and measures
// the processor time of a probe.
//
// It opens the connections over loopback, in network namespaces of its own, and
// in several processes if one may not open that many files. One end of each has
// the policy: half of these are dialed with a [keepalive.Dialer], half accepted
// from a [keepalive.ListenConfig]. The other end, the peer, has keepalive off.
//
// The exit code is 0 only if all of this holds:
//   - No idle connection is lost.
//   - Of the peers 1 % fall silent at once. Each of them is noticed within the
//     time that the policy promises, and no other connection is lost.
//   - Every other connection carries a message to the peer and back, once, and
//     ends in order.
//
// The processor time is that of the whole machine, less what it uses while
// keepalive is off on the same connections.
//
//	go run ./internal/programs/soak
//
// The flag -h explains the flags. Soak needs Linux.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		exit(2, err) // as package flag does
	}
	if number := os.Getenv(workerVar); number != "" {
		err = serve(o, number)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = coordinate(ctx, o, os.Stdout)
	}
	if errors.Is(err, context.Canceled) {
		exit(130, errors.New("interrupted")) // as the shell does
	}
	if err != nil {
		exit(1, err)
	}
}

func exit(code int, err error) {
	fmt.Fprintln(os.Stderr, "soak:", err)
	os.Exit(code)
}
