// Replication shows what a keepalive policy is worth when a machine dies
// without a word.
//
// A replica copies numbered records from a primary over a TCP connection that
// has a policy of its own. The primary's machine loses power twice: once while
// the connection is idle, and once with data in flight. The kernel notices
// within seconds, the replica dials again, resumes after the last record that it
// holds, and proves at the end that every record arrived once and in order. Only
// then the exit code is 0.
//
// Run it with
//
//	go run ./examples/replication
//
// on Linux, as any user. The flag -h explains what can be set.
//
// The files primary.go, replica.go, journal.go and record.go are what a program
// would have: they need nothing but package keepalive. The others make the
// primary fall silent, and show it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes. Those of a usage error and of Ctrl-C are the shell's.
const (
	exitProven      = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitProven
	}
	if err != nil {
		fmt.Fprintln(stderr, "replication:", err)
		return exitUsage
	}
	err = replicate(ctx, NewScreen(stdout), o)
	switch {
	case err == nil:
		return exitProven
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "replication: interrupted, both ends are closed")
		return exitInterrupted
	default:
		fmt.Fprintln(stderr, "replication:", err)
		return exitFailed
	}
}
