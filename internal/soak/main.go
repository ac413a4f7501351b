// Soak shows that a keepalive policy holds on very many connections at once,
// and what that costs.
//
// It opens connections over 127.0.0.0/8 in a network namespace of its own, in as
// few processes as may open so many files. One end of each connection has a
// policy from this module: the dialed end of one half ([keepalive.Dialer]), the
// accepted end of the other ([keepalive.ListenConfig]). The other end has
// keepalive off. They stay idle for a while, in which none may be lost. Then
// some peers fall silent at once: they, and nobody else, have to be noticed
// within the time that the policy promises. Then every connection that is left
// carries one message to and fro, which has to arrive once. Before all that, as
// many connections with keepalive off show what memory and processor time they
// need by themselves.
//
// Run it with
//
//	go run ./internal/soak
//
// on Linux. The flag -h explains what can be set. The exit code is 0 only if
// everything held.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// Exit codes. Those of a usage error and of Ctrl-C are the shell's.
const (
	exitHeld        = 0
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
		return exitHeld
	}
	if err != nil {
		fmt.Fprintln(stderr, "soak:", err)
		return exitUsage
	}
	if o.fleet.connections > 0 {
		fmt.Fprint(stdout, o.fleet.table())
		return exitHeld
	}
	// Not stopped: the second signal, of a terminal and of the process that
	// started this one, would kill what is about to answer the first.
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	return exitCode(soak(ctx, o, stdout, stderr), stderr)
}

func exitCode(err error, stderr io.Writer) int {
	var inside *exec.ExitError
	switch {
	case err == nil:
		return exitHeld
	case errors.As(err, &inside) && inside.ExitCode() > 0:
		return inside.ExitCode() // it has said why
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "soak: interrupted, all connections are closed")
		return exitInterrupted
	default:
		fmt.Fprintln(stderr, "soak:", err)
		return exitFailed
	}
}
