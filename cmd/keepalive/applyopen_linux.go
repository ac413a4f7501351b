package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// setOpen has all open connections hold what the rules say, and prints what could not
// be seen or set.
func (a *applyCommand) setOpen(ctx context.Context, stderr io.Writer) error {
	f, err := a.finding.find(stderr)
	if err != nil {
		return err
	}
	defer f.Close()
	failed, err := a.order(ctx, f, nil)
	lines, _ := new(selection).unseenLines(f)
	for _, line := range lines {
		fmt.Fprintln(stderr, line)
	}
	if failed > 0 {
		fmt.Fprintf(stderr, "%s could not be set.\n", count(failed, "open connection", "open connections"))
	}
	return err
}

// setOpenIn does so for connections of processes in some groups.
func (a *applyCommand) setOpenIn(ctx context.Context, groups []string) (unread error) {
	groupOf := make(map[int]uint64)
	for _, path := range groups {
		pids, err := a.top.ProcessesOf(path)
		if err != nil && !cgroup.IsGone(err) {
			unread = errors.Join(unread, err) // its owner may keep others from reading it
		}
		for _, pid := range pids {
			groupOf[pid] = a.groups[path]
		}
	}
	if len(groupOf) == 0 {
		return unread
	}
	f, err := a.findIn(slices.Collect(maps.Keys(groupOf)))
	if err != nil {
		return errors.Join(unread, err)
	}
	defer f.Close()
	_, err = a.order(ctx, f, groupOf)
	return errors.Join(unread, err)
}

// findIn finds the sockets of some processes. Without CAP_DAC_READ_SEARCH /proc does
// not show all of them, and findIn finds the sockets of all processes.
func (a *applyCommand) findIn(pids []int) (*sockets.Found, error) {
	f, err := sockets.FindIn(pids)
	if err != nil || len(f.Refusals()) == 0 {
		return f, err
	}
	f.Close()
	return a.finding.find(io.Discard)
}

// order orders connections to hold what the rules say, and returns how many could not
// be set. Unless groupOf is nil, it has the processes whose connections are meant, and
// their groups, which those sockets have whose group can't be found out.
func (a *applyCommand) order(ctx context.Context, f *sockets.Found, groupOf map[int]uint64) (failed int, err error) {
	paths := a.pathsByID()
	r := f.NewReader()
	defer r.Close()
	wanted := func(p sockets.Process) bool { return groupOf == nil || groupOf[p.PID] != 0 }
	for s := range f.All(wanted) {
		if err := ctx.Err(); err != nil {
			return failed, err
		}
		if s.Group == 0 && len(s.Holders) > 0 {
			s.Group = groupOf[s.Holders[0].PID]
		}
		number, ok := a.ruleOf(s, paths)
		if !ok {
			continue
		}
		var refused error
		r.Open(s.Index, func(fd int) { refused = a.orderOne(fd, number) })
		if refused != nil {
			failed++
		}
	}
	return failed, nil
}

func (a *applyCommand) orderOne(fd, number int) error {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	probing := err == nil && info.Probes > 0
	if number < 0 {
		return a.inForce.Order(fd, nil, probing)
	}
	rule := a.policies.rule(number)
	return a.inForce.Order(fd, &rule, probing)
}

// pathsByID returns the paths of the groups.
func (a *applyCommand) pathsByID() map[uint64]string {
	paths := make(map[uint64]string, len(a.groups))
	for path, id := range a.groups {
		paths[id] = path
	}
	return paths
}

// ruleOf returns the number of a connection's rule, or -1, and whether the rules are
// for the connection at all.
func (a *applyCommand) ruleOf(s *sockets.Socket, paths map[uint64]string) (number int, ok bool) {
	if !s.State.Synchronized() || s.MPTCP || s.Group == 0 {
		return 0, false
	}
	path, known := paths[s.Group]
	if !known && !a.isWhole() { // of a group that may not be below the root
		return 0, false
	}
	return a.policies.of(s, path), true
}

// isWhole reports whether the rules are for the whole hierarchy, so that a group that
// is not known has been removed, or is new. The root of a cgroup namespace is not it.
func (a *applyCommand) isWhole() bool {
	const hierarchy = 1 // the inode of its root: cgroup_root_from_kf of the kernel
	return a.groups["/"] == hierarchy
}
