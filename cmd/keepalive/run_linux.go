package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/supervise"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Exit codes of run where the program does not run, besides exitFailed, as those
// of env(1).
const (
	exitNoExec   = 126 // the program exists and can't be run
	exitNotFound = 127
)

// A runProgram runs a program by run.
type runProgram struct {
	policy     keepalive.Config
	argv       []string
	allowMPTCP bool
	user       string
	method     string
	quiet      bool
}

func newRun() *cobra.Command {
	var r runProgram
	c := &cobra.Command{
		Use:   "run POLICY -- PROGRAM [ARGUMENT...]",
		Short: "Run a program whose TCP connections hold a policy from birth",
		Long: `Run holds the TCP connections of a program, and of the programs that it
starts, to the policy. When a program sets an option of the policy, that has no
effect. Options that the policy leaves out stay under the control of the
program.

There are two methods. eBPF needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN,
and a control group of its own for the program. Seccomp needs no right: run
makes the TCP sockets in place of the program. Set-user-ID programs such as sudo
then have no rights of their own inside (no_new_privs), and if run is killed the
program gets SIGTERM and can make no TCP socket. Without --method run uses eBPF
where it has the rights for it, or else seccomp, and says so in a line on
standard error.

Signals sent to run are passed on to the program, except those that stop a
process, such as SIGTSTP, and a few that Go's runtime keeps: see docs/run.md.
Run waits until no process is left that the program has started. Then it ends as
the program ended, with the same exit code or by the same signal. The exit code
is 125 if run fails or is used wrongly, 126 if the program can't be run, and 127
if it is not found.

A program with socket activation finds its sockets: see sd_listen_fds(3). Where
LISTEN_PID is the process ID of run, it is that of the program for the program.

Run does not pass on to the program the capabilities that eBPF needs, unless
both run as root.`,
		Example: `  keepalive run idle=60s,interval=5s,count=3 -- psql -h db.example
  keepalive run --user redis default -- redis-server /etc/redis/redis.conf`,
		Args:             r.parse,
		PersistentPreRun: func(*cobra.Command, []string) {}, // signals are the program's
		RunE: func(c *cobra.Command, _ []string) error {
			err := r.run()
			if _, ok := errors.AsType[exitCode](err); ok || err == nil {
				return err
			}
			fmt.Fprintln(c.ErrOrStderr(), "keepalive run:", message(err))
			return exitCodeOf(err)
		},
	}
	c.Flags().BoolVar(&r.allowMPTCP, "allow-mptcp", false, "allow MPTCP, whose subflows may lack the policy")
	c.Flags().StringVar(&r.method, "method", "", "use the `METHOD` ebpf or seccomp, and no other")
	c.Flags().BoolVar(&r.quiet, "quiet", false, "do not say that seccomp is used because eBPF is refused")
	c.Flags().StringVar(&r.user, "user", "", "run the program as the user `NAME`, with its groups")
	return c
}

func (r *runProgram) parse(c *cobra.Command, args []string) error {
	if c.ArgsLenAtDash() != 1 || len(args) < 2 {
		return errors.New("want a policy, --, and a program, as in: " + c.Example[2:strings.IndexByte(c.Example, '\n')])
	}
	if !slices.Contains([]string{"", ebpf, seccomp}, r.method) {
		return usageError{fmt.Errorf("--method is %q, want %s or %s", r.method, ebpf, seccomp)}
	}
	r.argv = args[1:]
	enforced, err := parseEnforced(args[0])
	r.policy = keepalive.Config(enforced.policy)
	return err
}

// parseEnforced parses a policy for connections that are yet to be made. They
// have no value to go back to, so a zero makes no sense.
func parseEnforced(s string) (change, error) {
	c, err := parseChange(s)
	for i := range policy.Options {
		o := &policy.Options[i]
		if err == nil && c.named[o.Key] && o.Of(c.policy) == 0 {
			return c, usageError{fmt.Errorf("%s is 0, want a value, or none to leave it to the program", o.Key)}
		}
	}
	delete(c.named, "default") // what is left out stays, on open connections too
	return c, err
}

// message says why the program did not run.
func message(err error) string {
	if lookup, ok := errors.AsType[*exec.Error](err); ok {
		cause := lookup.Err
		if errors.Is(cause, exec.ErrNotFound) {
			return lookup.Name + ": not found in PATH"
		}
		if path, ok := errors.AsType[*os.PathError](cause); ok {
			cause = path.Err
		}
		return lookup.Name + ": " + cause.Error()
	}
	if start, ok := errors.AsType[*os.PathError](err); ok && start.Op == "fork/exec" {
		return start.Path + ": " + start.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "keepalive: ")
}

// exitCodeOf tells why the program did not run.
func exitCodeOf(err error) exitCode {
	lookup, inPath := errors.AsType[*exec.Error](err)
	start, started := errors.AsType[*os.PathError](err)
	switch {
	case inPath && (errors.Is(lookup.Err, exec.ErrNotFound) || errors.Is(lookup.Err, os.ErrNotExist)):
		return exitNotFound
	case inPath || started && start.Op == "fork/exec":
		return exitNoExec
	}
	return exitFailed
}

// run returns nil or the exit code of the program, unless it ends as the program
// did.
func (r *runProgram) run() error {
	cmd, err := r.command()
	if err != nil {
		return err
	}
	signals := supervise.Catch()
	defer signals.Stop()
	status, err := r.supervise(signals, cmd)
	if interrupted, ok := errors.AsType[supervise.Interrupted](err); ok {
		supervise.Die(interrupted.Signal)
		return exitCode(128 + interrupted.Signal)
	}
	if err != nil {
		return err
	}
	if status.Signaled() {
		supervise.Die(status.Signal())
		return exitCode(128 + status.Signal())
	}
	if code := status.ExitStatus(); code != 0 {
		return exitCode(code)
	}
	return nil
}

func check(own *cgroup.Group, c keepalive.Config) error {
	dir, err := own.Directory()
	if err != nil {
		return err
	}
	defer dir.Close()
	return cgrouppolicy.Check(dir, c)
}

func attachTo(group *cgroup.Group, c keepalive.Config, mptcp bool) (*cgrouppolicy.Attachment, error) {
	dir, err := group.Directory()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return cgrouppolicy.Attach(dir, c, mptcp)
}
