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

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Exit codes. A command that runs another program exits with that one's, by an
// exitCode.
const (
	exitDone    = 0
	exitProblem = 1 // something was refused, or is not as it should be
	exitUsage   = 2
	exitFailed  = 125 // run itself failed, as env(1) has it
)

func main() {
	// A write to a closed pipe returns an error, and does not end the program.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command that args name and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := term.NewStream(stdout)
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	addOwn(root)
	addCompletion(root)
	started := false
	for _, c := range root.Commands() {
		if inner := c.RunE; inner != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				started = true
				return inner(c, args)
			}
		}
	}
	c, err := root.ExecuteContextC(ctx)
	problem, usage := exitProblem, exitUsage
	if c.Name() == "run" { // whose program may exit with 1 and 2
		problem, usage = exitFailed, exitFailed
	}
	if failed := out.Err(); failed != nil {
		if !errors.Is(failed, syscall.EPIPE) { // the reader has gone, and knows
			fmt.Fprintln(stderr, "keepalive:", failed)
		}
		return problem
	}
	if err == nil {
		return exitDone
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if errors.Is(err, context.Canceled) {
		return problem // by a signal, whose sender knows
	}
	fmt.Fprintln(stderr, "keepalive:", strings.TrimPrefix(err.Error(), "keepalive: "))
	if _, ok := errors.AsType[usageError](err); ok || !started {
		fmt.Fprintf(stderr, "Try '%s --help'.\n", c.CommandPath())
		return usage
	}
	return problem
}

// A usageError is an argument or flag that makes no sense. An error before a
// command starts is one too.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// An exitCode ends the program without a message.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "keepalive COMMAND",
		Short: "See and tune TCP keepalive in running programs",
		Long: `Keepalive shows the TCP keepalive policy of the sockets that running programs
hold and how long a dead peer goes unnoticed. It changes the policy while the
programs run, holds programs to a policy, and helps to choose one.

A POLICY is "default", or a list of these, separated by commas:
off, ` + strings.Join(policy.Examples(), ", ") + `.

The exit code is 0 for success, 1 if something was refused or is not as it
should be, and 2 for wrong usage. Only "keepalive run" differs: it exits with
the code of the program that it runs, and with 125 for a failure of its own,
wrong usage included.`,
		Version: thisBuild().String(),
		Args:    unknownCommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
		// A command that has its own leaves signals alone.
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			context.AfterFunc(ctx, stop) // a second signal ends the program at once
			c.SetContext(ctx)
		},
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageTemplate)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version, the commit and the release of Go")
	for _, g := range groups() {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, c := range g.commands {
			c.GroupID = g.title
			name, args, _ := strings.Cut(c.Use, " ")
			c.Use = strings.TrimSpace(name + " [FLAG...] " + args)
			c.DisableFlagsInUseLine = true
			root.AddCommand(c)
		}
	}
	return root
}

// A commandGroup is what commands are for.
type commandGroup struct {
	title    string
	commands []*cobra.Command
}
