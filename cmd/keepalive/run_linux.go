package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

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
	exitNoExec   = 126 // the program is there, and can't be run
	exitNotFound = 127
)

// A runProgram runs a program by run.
type runProgram struct {
	policy     keepalive.Config
	argv       []string
	allowMPTCP bool
	user       string
}

func newRun() *cobra.Command {
	var r runProgram
	c := &cobra.Command{
		Use:   "run POLICY -- PROGRAM [ARGUMENT...]",
		Short: "Run a program whose TCP connections hold a policy from birth",
		Long: `Run starts a program in a control group of its own and has eBPF hold each TCP
connection of the program, and of those that it starts, to the policy: from
the moment that it is established, whatever the program itself sets. What the
policy leaves out stays the program's own.

Signals that run gets are passed on to the program, but for those that stop a
process, as SIGTSTP does. Run waits until no process is left in the group, and
then ends as the program ended: with its exit code, or by the same signal. It
exits with 125 where it fails itself, with 126 where the program can't be run
and with 127 where there is none.

It takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN. The program gets none of
them, unless root runs it as root. See docs/run.md.`,
		Example: `  keepalive run idle=60s,interval=5s,count=3 -- psql -h db.example
  keepalive run --user redis default -- redis-server /etc/redis/redis.conf`,
		Args:             r.parse,
		PersistentPreRun: func(*cobra.Command, []string) {}, // signals are the program's
		RunE: func(c *cobra.Command, _ []string) error {
			err := r.run()
			if _, ok := errors.AsType[exitCode](err); ok || err == nil {
				return err
			}
			fmt.Fprintln(c.ErrOrStderr(), "keepalive run:", strings.TrimPrefix(err.Error(), "keepalive: "))
			return exitCodeOf(err)
		},
	}
	c.Flags().BoolVar(&r.allowMPTCP, "allow-mptcp", false, "let the program use MPTCP: subflows may lack the policy")
	c.Flags().StringVar(&r.user, "user", "", "run the program as the user `NAME`, in its groups")
	return c
}

func (r *runProgram) parse(c *cobra.Command, args []string) error {
	if c.ArgsLenAtDash() != 1 || len(args) < 2 {
		return errors.New("want a policy, --, and a program, as in: " + c.Example[2:strings.IndexByte(c.Example, '\n')])
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

func (r *runProgram) supervise(signals supervise.Signals, cmd *exec.Cmd) (status syscall.WaitStatus, err error) {
	own, err := cgroup.Own()
	if err != nil {
		return 0, err
	}
	defer own.Close()
	if err := check(own, r.policy); err != nil {
		return 0, err
	}
	group, err := own.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	attachment, err := attachTo(group, r.policy, r.allowMPTCP)
	if err != nil {
		return 0, err
	}
	defer attachment.Close()
	if err := cgrouppolicy.SetInherited(r.policy, r.allowMPTCP); err != nil {
		return 0, err
	}
	return signals.Run(cmd, group)
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
