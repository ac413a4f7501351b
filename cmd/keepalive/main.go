// Keepalive shows and changes the TCP keepalive policy of sockets that running
// programs hold, and helps to choose one. See docs/keepalive.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Exit codes. A command that runs another program exits with that one's, by an
// exitCode.
const (
	exitDone    = 0
	exitProblem = 1 // something was refused, or is not as it should be
	exitUsage   = 2
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	started := false
	for _, c := range root.Commands() {
		inner := c.RunE
		c.RunE = func(c *cobra.Command, args []string) error {
			started = true
			return inner(c, args)
		}
	}
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if errors.Is(err, context.Canceled) {
		return exitProblem // by a signal, of which somebody knows
	}
	fmt.Fprintln(stderr, "keepalive:", strings.TrimPrefix(err.Error(), "keepalive: "))
	if _, ok := errors.AsType[usageError](err); ok || !started {
		fmt.Fprintf(stderr, "Try '%s --help'.\n", c.CommandPath())
		return exitUsage
	}
	return exitProblem
}

// A usageError is an argument or flag that makes no sense. What cobra finds
// wrong before a command starts is one too.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// An exitCode ends the program without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "keepalive",
		Short: "See and tune TCP keepalive in running programs",
		Long: `Keepalive shows the keepalive policy of TCP sockets that running programs
hold, tells how long a dead peer of theirs goes unnoticed, and changes the
policy of a socket while its program runs.

A POLICY is "default", or any of these, with commas between them:
off, ` + strings.Join(policy.Examples(), ", ") + `.

The exit code is 0 when all was done, 1 when something was refused or found
wanting, and 2 for wrong usage.`,
		// A command that has its own leaves signals alone.
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			context.AfterFunc(ctx, stop) // a second signal ends the program at once
			c.SetContext(ctx)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(commands()...)
	return root
}
