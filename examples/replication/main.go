// Replication shows what a keepalive policy is worth when a machine dies
// without a word.
//
// A replica copies numbered records from a primary over a TCP connection that
// this program gives a policy of its own with [keepalive.Dialer]. Half way the
// primary's end falls silent, as if its machine had lost power. The kernel
// notices within seconds, the replica dials again, resumes after the last
// record that it holds, and proves at the end that every record arrived once
// and in order. Only then the exit code is 0.
//
// Run it with
//
//	go run ./examples/replication
//
// on Linux, as any user. The flag -h explains what can be set.
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

	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

// Exit codes. Those of a usage error and of Ctrl-C are the shell's.
const (
	exitProven      = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitProven
	}
	if err != nil {
		fmt.Fprintln(stderr, "replication:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return exitCode(replicate(ctx, cli.NewScreen(stdout), o), stderr)
}

func exitCode(err error, stderr io.Writer) int {
	switch {
	case err == nil:
		return exitProven
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "replication: interrupted, both ends are closed")
		return exitInterrupted
	default:
		fmt.Fprintln(stderr, "replication:", err)
		return exitFailed
	}
}
