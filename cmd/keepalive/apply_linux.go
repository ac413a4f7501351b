package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

func newApply() *cobra.Command {
	var a applyCommand
	var check, remove bool
	c := &cobra.Command{
		Use:   "apply FILE|DIRECTORY...",
		Short: "Hold the TCP connections of the machine to rules",
		Long: `Apply uses eBPF to hold the TCP connections of all programs of the machine to
rules, in containers too. It reads the rules from files in YAML, and from the
files of directories whose names end in .yaml or .yml. For each connection the
first rule that matches counts:

    rules:
      - remote: 10.20.0.0/16:5432   # CIDR[:PORT] or :PORT of the other end
        policy: idle=60s,interval=5s,count=3
      - unit: [redis-server, app-*] # units of systemd
        local: :6379                # CIDR[:PORT] or :PORT of the own end
        plan: {detect: 45s, idle_limit: 350s, in_flight: max_rto}
      - cgroup: /kubepods.slice/*   # a control group, and those below it
        policy: idle=4m
        mode: tighten
        mptcp: refuse               # these programs fall back to TCP
      - policy: idle=4m,interval=75s,count=3

The keys of a rule must all match, and one of the values of each. The directory
of a unit or group may have * for any characters. A rule without such keys is
for all other connections.

With "mode: set" a connection holds the policy, whatever the program sets. With
"mode: tighten" it holds the stricter of the policy and what the program sets.
A rule without a match has tighten, and others have set, unless they say
otherwise. Options that the policy leaves out stay under the control of the
program. MPTCP is left alone, unless a rule refuses it.

A mistake is an error with file, line and column, before anything happens. So is
a rule that can never match. --check only reads the rules. --dry-run prints for
each socket of the machine which rule matches and what would change.

Open connections are set once. Apply then runs until it is interrupted. On
SIGHUP it reads the rules again: after a mistake the old ones stay in force. It
tells systemd when it is ready. When it ends, connections keep what they hold.

--pin keeps the rules in force when apply ends or is killed, until "keepalive
apply --remove". Control groups that are made meanwhile have the rules without
unit and cgroup, until apply runs again. The pins are in a BPF file system, in a
directory that only root can enter.

With --exporter HOST:PORT apply also serves the metrics of "keepalive exporter".

With --cgroup-root DIR the rules are for the connections of that control group
and of those below it, and its path is / in them. A container needs it, where
the host's hierarchy is mounted.

Apply needs Linux 6.1 with BTF, cgroup v2, CAP_BPF, CAP_NET_ADMIN and
CAP_PERFMON, and CAP_SYS_PTRACE for open connections. See docs/apply.md.`,
		Example: `  keepalive apply --check /etc/keepalive
  keepalive apply --dry-run /etc/keepalive
  keepalive apply --pin /etc/keepalive
  keepalive apply --remove`,
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case remove && (len(args) > 0 || check || a.dryRun):
				return errors.New("--remove takes no rules, --check or --dry-run")
			case check && a.dryRun:
				return errors.New("--check and --dry-run exclude each other")
			case !remove && len(args) == 0:
				return fmt.Errorf("the rules are missing, want: %s", c.UseLine())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			a.paths, a.out, a.stderr = args, term.New(c.OutOrStdout()), c.ErrOrStderr()
			switch {
			case remove:
				return a.remove()
			case check:
				return a.check()
			}
			return a.run(c.Context())
		},
	}
	flags := c.Flags()
	flags.BoolVar(&check, "check", false, "only read the rules")
	flags.BoolVar(&a.dryRun, "dry-run", false, "print what would be set, and set nothing")
	flags.BoolVar(&a.pin, "pin", false, "keep the rules in force when apply ends")
	flags.StringVar(&a.pinDir, "pin-dir", "/sys/fs/bpf/keepalive", "pins lie in `DIR`")
	flags.BoolVar(&remove, "remove", false, "remove what --pin has kept")
	flags.StringVar(&a.metrics, "exporter", "", "serve metrics at `HOST:PORT`")
	flags.StringVar(&a.root, "cgroup-root", "", "the root of cgroup v2, or a group below it: `DIR`")
	a.finding.addFlags(c)
	return c
}

// An applyCommand holds the arguments and flags of apply, and what is in force.
type applyCommand struct {
	paths   []string
	root    string
	pin     bool
	pinDir  string
	dryRun  bool
	metrics string // the address of an exporter, or ""
	finding finding

	out    term.Output
	stderr io.Writer

	policies machinePolicies
	top      *cgroup.Group
	groups   map[string]uint64 // their ids by their paths
	inForce  *cgrouppolicy.Rules
}

func (a *applyCommand) check() error {
	found, err := rules.Load(a.paths...)
	if err == nil {
		fmt.Fprintf(a.out, "%s without a mistake.\n", count(len(found), "rule", "rules"))
	}
	return err
}

func (a *applyCommand) remove() error {
	if _, err := os.Stat(a.pinDir); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("nothing is pinned in %s", a.pinDir)
	}
	pins, err := cgrouppolicy.OpenPins(a.pinDir)
	if err != nil {
		return err
	}
	if err := pins.Remove(); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "Removed: connections keep what they hold, and new ones are the programs' own.")
	return nil
}

func (a *applyCommand) run(ctx context.Context) (err error) {
	if err := a.load(); err != nil {
		return err
	}
	if a.top, err = a.openRoot(); err != nil {
		return err
	}
	defer a.top.Close()
	tree, err := a.top.Tree()
	if err != nil {
		return err
	}
	defer tree.Close()
	a.groups = maps.Clone(tree.Groups()) // the tree changes while it is watched
	if err := a.policies.checkGroups(a.groups); err != nil {
		return err
	}
	if a.dryRun {
		return a.dry(ctx)
	}
	if err := a.checkKernel(); err != nil {
		return err
	}
	return a.serving(ctx, func() error { return a.hold(ctx, tree) })
}

func (a *applyCommand) load() error {
	found, err := rules.Load(a.paths...)
	if err == nil {
		a.policies = machinePolicies(found)
	}
	return err
}

func (a *applyCommand) openRoot() (*cgroup.Group, error) {
	if a.root != "" {
		return cgroup.OpenTop(a.root)
	}
	return cgroup.Root()
}

// checkKernel returns an error where this kernel can't set what a rule names.
func (a *applyCommand) checkKernel() error {
	own, err := cgroup.Own()
	if err != nil { // as in a container that does not mount it: the root is above it
		own = a.top
	} else {
		defer own.Close()
	}
	tried := make(map[string]bool) // which options a policy names, whose values are right
	for _, r := range a.policies {
		named := optionsNamed(r.Config)
		if tried[named] {
			continue
		}
		tried[named] = true
		err := check(own, r.Config)
		if errors.Is(err, cgrouppolicy.ErrRefused) {
			return err // whatever the rule
		}
		if err != nil {
			return fmt.Errorf("%v: %w", r.Position, err)
		}
	}
	return nil
}

func optionsNamed(c keepalive.Config) (keys string) {
	for i := range policy.Options {
		if o := &policy.Options[i]; o.Of(policy.Config(c)) != 0 {
			keys += o.Key + " "
		}
	}
	return keys
}
