package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/exporter"
)

// hold holds connections to the rules until ctx is done.
func (a *applyCommand) hold(ctx context.Context, tree *cgroup.Tree) (err error) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	var pins *cgrouppolicy.Pins
	if a.pin {
		if pins, err = cgrouppolicy.OpenPins(a.pinDir); err != nil {
			return err
		}
		defer pins.Close()
	}
	dir, err := a.top.Directory()
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := a.checkNone(dir, pins); err != nil {
		return err
	}
	if a.inForce, err = cgrouppolicy.NewRules(pins); err != nil {
		return err
	}
	defer a.inForce.Close()
	if err := a.replace(); err != nil {
		return err
	}
	if err := a.inForce.Attach(dir); err != nil {
		return err
	}
	if err := a.setOpen(ctx, a.stderr); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "In force: %s, in %s.\n", count(len(a.policies), "rule", "rules"), count(len(a.groups), "control group", "control groups"))
	notify("READY=1")
	err = a.follow(ctx, tree, hangup)
	notify("STOPPING=1")
	if err == nil {
		fmt.Fprintln(a.out, a.farewell())
	}
	return err
}

// serving serves metrics while f runs, if that is wanted. The rules do not depend on
// that: an error that ends it is only printed.
func (a *applyCommand) serving(ctx context.Context, f func() error) error {
	if a.metrics == "" {
		return f()
	}
	ln, err := listenForMetrics(ctx, "exporter", a.metrics, a.out)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		a.tell(exporter.Serve(ctx, ln, exporter.Options{Reading: a.finding.reading, Log: a.stderr}))
	}()
	defer func() {
		stop()
		<-served
	}()
	return f()
}

// checkNone returns an error where rules of another process are in force already.
func (a *applyCommand) checkNone(root *os.File, pins *cgrouppolicy.Pins) error {
	entries, err := os.ReadDir(a.pinDir) // empty where --pin has failed
	if pins == nil && (len(entries) > 0 || errors.Is(err, os.ErrPermission)) {
		return fmt.Errorf("rules are pinned in %s: want --pin, or keepalive apply --remove before", a.pinDir)
	}
	return cgrouppolicy.CheckNone(root, pins)
}

func (a *applyCommand) farewell() string {
	if a.pin {
		return "Stopped: the rules stay in force, until keepalive apply --remove."
	}
	return "Stopped: connections keep what they hold, and new ones are the programs' own."
}

// lookAgain is the time after which connections are looked at once more that were
// open before the rules, and that no process had yet: they waited to be accepted.
const lookAgain = time.Second

// A secondLook is what is looked at once more.
type secondLook struct {
	timer  *time.Timer
	armed  bool
	all    bool
	groups []string // unless all
}

func (l *secondLook) add(all bool, groups []string) {
	l.all, l.groups = l.all || all, append(l.groups, groups...)
	if !l.armed && (all || len(groups) > 0) {
		l.timer.Reset(lookAgain)
		l.armed = true
	}
}

// look looks at the connections.
func (a *applyCommand) look(ctx context.Context, l *secondLook) {
	if l.all {
		a.tell(a.setOpen(ctx, io.Discard)) // it has been printed
	} else {
		a.tell(a.setOpenIn(ctx, l.groups))
	}
	*l = secondLook{timer: l.timer}
}

// tell prints an error that leaves the rules in force.
func (a *applyCommand) tell(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "keepalive:", err)
	}
}

// follow follows the groups that are made and removed, and SIGHUP.
func (a *applyCommand) follow(ctx context.Context, tree *cgroup.Tree, hangup <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, failed := make(chan cgroup.Changes), make(chan error, 1)
	go watch(ctx, tree, changes, failed)
	again := secondLook{timer: time.NewTimer(lookAgain), armed: true, all: true}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-hangup:
			again.add(a.reload(ctx), nil)
		case c := <-changes:
			again.add(false, a.take(ctx, c))
		case <-again.timer.C:
			a.look(ctx, &again)
		}
	}
}

// watch sends changes of the groups.
func watch(ctx context.Context, tree *cgroup.Tree, changes chan<- cgroup.Changes, failed chan<- error) {
	for {
		c, err := tree.Wait(ctx)
		if err != nil {
			failed <- err
			return
		}
		select {
		case changes <- c:
		case <-ctx.Done():
			return
		}
	}
}

// reload reports whether other rules are in force.
func (a *applyCommand) reload(ctx context.Context) bool {
	notify("RELOADING=1\nMONOTONIC_USEC=" + monotonic())
	defer notify("READY=1")
	before := a.policies
	err := a.load()
	if err == nil {
		err = a.policies.checkGroups(a.groups)
	}
	if err == nil {
		err = a.checkKernel()
	}
	if err == nil {
		err = a.replace()
	}
	if err != nil {
		a.policies = before
		fmt.Fprintf(a.stderr, "keepalive: %v\nThe old rules stay in force.\n", err)
		return false
	}
	a.tell(a.setOpen(ctx, a.stderr))
	fmt.Fprintf(a.out, "In force: %s.\n", count(len(a.policies), "rule", "rules"))
	return true
}

// replace puts the rules in force.
func (a *applyCommand) replace() error {
	groups := map[uint64]cgrouppolicy.Membership{0: a.policies.membershipOfUnknown()}
	for path, id := range a.groups {
		groups[id] = a.policies.membership(path)
	}
	return a.inForce.Replace(a.policies.rows(), groups)
}

// take has the programs know of groups, and sets what those have opened already.
func (a *applyCommand) take(ctx context.Context, c cgroup.Changes) (added []string) {
	for _, id := range c.Removed {
		a.inForce.RemoveGroup(id)
	}
	maps.DeleteFunc(a.groups, func(_ string, id uint64) bool { return slices.Contains(c.Removed, id) })
	for path, id := range c.Added {
		a.groups[path] = id
		a.tell(a.inForce.AddGroup(id, a.policies.membership(path)))
		added = append(added, path)
	}
	a.tell(a.setOpenIn(ctx, added))
	return added
}
