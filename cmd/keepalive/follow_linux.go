package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
)

// reopen returns how to open the group that comes after one that is removed.
func (t attachTarget) reopen(group *cgroup.Group) (func() (*cgroup.Group, error), error) {
	switch {
	case t.unit != "":
		return func() (*cgroup.Group, error) { return cgroup.OfUnit(t.unit) }, nil
	case t.path != "":
		path := group.Path() // Open takes a relative path for a directory that exists alone
		return func() (*cgroup.Group, error) { return cgroup.Open(path) }, nil
	}
	return nil, usageError{errors.New("--follow waits for a name that comes back, want --unit or --cgroup with it")}
}

// holdEach attaches to the group, and with --follow to those that come after it.
func (a *attachCommand) holdEach(ctx context.Context, group *cgroup.Group) (err error) {
	for group != nil {
		if group, err = a.holdUntilNext(ctx, group); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.setCommand.out, "Stopped: connections keep what they hold, and new ones are the program's own.")
	return a.refused
}

// holdUntilNext attaches to the group, which it closes. It returns the group that
// comes after it, or nil once ctx is done.
func (a *attachCommand) holdUntilNext(ctx context.Context, group *cgroup.Group) (*cgroup.Group, error) {
	defer group.Close()
	watch := group.Watch()
	defer watch.Close()
	err := a.hold(ctx, group, watch)
	if !group.IsGone() {
		return nil, err
	}
	if a.reopen == nil {
		return nil, fmt.Errorf("cgroup %s has been removed, as when its service stops: attach again when it is back, or use --follow", group.Path())
	}
	fmt.Fprintf(a.setCommand.out, "%s has been removed, as when its service stops: waiting for the next one.\n", group.Path())
	next, err := watch.Await(ctx, a.reopen)
	if ctx.Err() != nil {
		err = nil
	}
	return next, err
}

// hold attaches to the group until it is removed, or ctx is done.
func (a *attachCommand) hold(ctx context.Context, group *cgroup.Group, watch *cgroup.Watch) error {
	attachment, err := attachTo(group, keepalive.Config(a.change.policy), a.allowMPTCP)
	if err != nil {
		return err
	}
	defer attachment.Close()
	fmt.Fprintf(a.setCommand.out, "New connections of %s hold %v until this command ends.\n", group.Path(), a.change.policy)
	if err := a.setOpen(ctx, group); err != nil {
		if _, ok := errors.AsType[exitCode](err); !ok {
			return err
		}
		a.refused = err
	}
	for !group.IsGone() && ctx.Err() == nil {
		watch.Wait(ctx)
	}
	return nil
}
