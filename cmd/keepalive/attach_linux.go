package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
)

func newAttach() *cobra.Command {
	var target attachTarget
	var allowMPTCP, dryRun, follow bool
	c := &cobra.Command{
		Use:   "attach POLICY",
		Short: "Hold the TCP connections of a service or container to a policy",
		Long: `Attach uses eBPF to hold the TCP connections of an existing control group, and
of the groups below it, to the policy. Each connection gets the policy when it
is established. When the program sets an option of the policy, the value of the
policy is set instead. Options that the policy leaves out stay under the control
of the program.

Exactly one of these flags selects the group:

    --unit NAME     the group of a unit of systemd, such as redis-server
    --pid P         the group of the process P, such as that of a container
    --cgroup PATH   a directory of cgroup v2, or a path as in /proc/P/cgroup
    --all           the root, with every process of the machine or container

Attach first prints the path of the group and how many processes and open
connections it has. With --dry-run it prints that and changes nothing.

Connections that are open are set once, as by "keepalive set", and so are
listening sockets, whatever group they were made in. What is set is printed.

Attach runs until it is interrupted. Connections then keep their values,
programs may change them, and new connections get no policy. The exit code is 1
if a socket could not be set, and when the group is removed, as when a service
stops. With --follow attach waits until --unit or --cgroup names a group again,
as when the service restarts, and attaches to that one.

Attach needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and for the open
connections the rights that "keepalive set" needs. See docs/run.md.`,
		Example: `  keepalive attach --unit redis-server idle=60s,interval=5s,count=3
  keepalive attach --unit redis-server --follow idle=60s
  keepalive attach --pid "$(docker inspect -f '{{.State.Pid}}' web)" idle=60s`,
		Args: oneArg("POLICY"),
		RunE: func(c *cobra.Command, args []string) error {
			change, err := parseEnforced(args[0])
			if err != nil {
				return err
			}
			a := attachCommand{allowMPTCP: allowMPTCP, dryRun: dryRun, change: change}
			a.setCommand = setCommand{change: change, guarded: true, out: term.New(c.OutOrStdout()), stderr: c.ErrOrStderr()}
			group, err := target.open(c.Flags().Changed)
			if err != nil {
				return err
			}
			if follow {
				if a.reopen, err = target.reopen(group); err != nil {
					return errors.Join(err, group.Close())
				}
			}
			return a.run(c.Context(), group)
		},
	}
	c.Flags().StringVar(&target.path, "cgroup", "", "the control group `PATH`")
	c.Flags().IntVar(&target.pid, "pid", 0, "the control group of the process `P`")
	c.Flags().StringVar(&target.unit, "unit", "", "the control group of the systemd unit `NAME`")
	c.Flags().BoolVar(&target.all, "all", false, "the root: every process of the machine or container")
	c.Flags().BoolVar(&follow, "follow", false, "when the group is removed, wait for the next one")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would be selected")
	c.Flags().BoolVar(&allowMPTCP, "allow-mptcp", false, "allow MPTCP, whose subflows may lack the policy")
	return c
}

// An attachTarget holds the flags that select the group.
type attachTarget struct {
	path string
	pid  int
	unit string
	all  bool
}

// open opens the group. Given reports whether a flag is given.
func (t attachTarget) open(given func(flag string) bool) (*cgroup.Group, error) {
	var flags []string
	for _, flag := range []string{"cgroup", "pid", "unit"} {
		if given(flag) {
			flags = append(flags, flag)
		}
	}
	if t.all {
		flags = append(flags, "all")
	}
	switch {
	case len(flags) == 0:
		return nil, usageError{errors.New("no control group is selected, want one of --unit, --pid, --cgroup and --all")}
	case len(flags) > 1:
		return nil, usageError{fmt.Errorf("--%s and --%s exclude each other, want one of --unit, --pid, --cgroup and --all", flags[0], flags[1])}
	}
	switch flags[0] {
	case "cgroup":
		return cgroup.Open(t.path)
	case "unit":
		return cgroup.OfUnit(t.unit)
	case "all":
		return cgroup.Root()
	}
	if t.pid <= 0 {
		return nil, usageError{fmt.Errorf("--pid is %d, want the id of a process that runs", t.pid)}
	}
	return cgroup.OfProcess(t.pid)
}

// An attachCommand holds the arguments and flags of attach.
type attachCommand struct {
	change     change
	allowMPTCP bool
	dryRun     bool
	reopen     func() (*cgroup.Group, error) // with --follow, or else nil
	setCommand setCommand                    // of the connections that are open
	refused    error                         // the exitCode of those that could not be set
}

// run attaches to the group, which it closes.
func (a *attachCommand) run(ctx context.Context, group *cgroup.Group) error {
	err := a.describe(ctx, group)
	if err == nil && !a.dryRun {
		err = a.check()
	}
	if err != nil || a.dryRun {
		return errors.Join(err, group.Close())
	}
	return a.holdEach(ctx, group)
}

func (a *attachCommand) check() error {
	own, err := cgroup.Own()
	if err != nil {
		return err
	}
	defer own.Close()
	return check(own, keepalive.Config(a.change.policy))
}

// describe prints what the group has.
func (a *attachCommand) describe(ctx context.Context, group *cgroup.Group) error {
	pids, err := group.Processes()
	if err != nil {
		return err
	}
	members := make(map[int]bool, len(pids))
	for _, pid := range pids {
		members[pid] = true
	}
	f, err := a.setCommand.finding.find(a.setCommand.stderr)
	if err != nil {
		return err
	}
	defer f.Close()
	isMember := func(p sockets.Process) bool { return members[p.PID] }
	open := 0
	for s := range f.All(isMember) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.Status.Open {
			open++
		}
	}
	what := fmt.Sprintf("%s: %s, %s", group.Path(), count(len(members), "process", "processes"), count(open, "open connection", "open connections"))
	refusals := slices.DeleteFunc(f.Refusals(), func(r sockets.Refusal) bool { return !isMember(r.Process) })
	for _, line := range refusalLines(refusals) {
		what += "; " + line
	}
	fmt.Fprintln(a.setCommand.out, what+".")
	return nil
}

func count(n int, one, more string) string {
	if n == 1 {
		more = one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// setOpen sets the sockets of the group's processes. Those that do not belong to
// the group, as they came from elsewhere, are set too.
func (a *attachCommand) setOpen(ctx context.Context, group *cgroup.Group) error {
	pids, err := group.Processes()
	if group.IsGone() || err == nil && len(pids) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	set := a.setCommand // which counts
	set.selection.pids = pids
	if err := set.run(ctx); !errors.Is(err, errNoSocket) {
		return err
	}
	return nil
}
