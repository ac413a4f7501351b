package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
)

func newAttach() *cobra.Command {
	var group string
	var allowMPTCP bool
	c := &cobra.Command{
		Use:   "attach --cgroup PATH POLICY",
		Short: "Hold the TCP connections of a control group to a policy",
		Long: `Attach has eBPF hold the TCP connections of a control group that is there, such
as that of a service, and of the groups below it, to the policy: each from the
moment that it is established, whatever the program itself sets. What the policy
leaves out stays the program's own.

Connections that are open, and listening sockets that came from elsewhere, as
from systemd, are set once, as keepalive set does, and printed.

PATH is the directory of the group, or what systemctl show --value -p
ControlGroup prints of a unit that runs. Attach stays until it is interrupted.
Connections then keep what they hold, programs may change it, and new
connections are theirs. It exits with 1 where an open connection was refused,
and when the group is removed, as when the service stops: it has to be attached
again.

It takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, and for the connections
that are open what keepalive set takes. See docs/run.md.`,
		Example: `  keepalive attach --cgroup /system.slice/redis-server.service idle=60s,count=3`,
		Args:    oneArg("POLICY"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			a := attachCommand{allowMPTCP: allowMPTCP}
			if a.change, err = parseEnforced(args[0]); err != nil {
				return err
			}
			a.setCommand = setCommand{change: a.change, guarded: true, out: term.New(c.OutOrStdout()), stderr: c.ErrOrStderr()}
			return a.run(c.Context(), group)
		},
	}
	c.Flags().StringVar(&group, "cgroup", "", "the control group `PATH`")
	c.Flags().BoolVar(&allowMPTCP, "allow-mptcp", false, "let programs use MPTCP: subflows may lack the policy")
	c.MarkFlagRequired("cgroup")
	return c
}

// An attachCommand is what the command is told to do.
type attachCommand struct {
	change     change
	allowMPTCP bool
	setCommand setCommand // of the connections that are open
}

func (a *attachCommand) run(ctx context.Context, path string) error {
	group, err := cgroup.Open(path)
	if err != nil {
		return err
	}
	defer group.Close()
	own, err := cgroup.Own()
	if err != nil {
		return err
	}
	defer own.Close()
	if err := check(own, keepalive.Config(a.change.policy)); err != nil {
		return err
	}
	attachment, err := attachTo(group, keepalive.Config(a.change.policy), a.allowMPTCP)
	if err != nil {
		return err
	}
	defer attachment.Close()
	fmt.Fprintf(a.setCommand.out, "New connections of %s hold %v until this command ends.\n", path, a.change.policy)
	refused := a.setOpen(ctx, group)
	if _, ok := errors.AsType[exitCode](refused); !ok && refused != nil {
		return refused
	}
	if !awaitEnd(ctx, group) {
		return fmt.Errorf("cgroup %s has been removed, as when its service stops: attach again when it is back", path)
	}
	fmt.Fprintln(a.setCommand.out, "Stopped: connections keep what they hold, and new ones are the program's own.")
	return refused
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
	a.setCommand.selection.pids = pids
	if err := a.setCommand.run(ctx); !errors.Is(err, errNoSocket) {
		return err
	}
	return nil
}

// awaitEnd waits until ctx is done. It returns false where the group is gone
// sooner: the kernel tells nobody, so that it has to be asked.
func awaitEnd(ctx context.Context, group *cgroup.Group) bool {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for !group.IsGone() {
		select {
		case <-ctx.Done():
			return true
		case <-every.C:
		}
	}
	return false
}
