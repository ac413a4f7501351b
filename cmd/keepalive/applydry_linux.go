package main

import (
	"context"
	"fmt"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// dry prints which rule matches each socket, and what it would change.
func (a *applyCommand) dry(ctx context.Context) error {
	f, err := a.finding.find(a.stderr)
	if err != nil {
		return err
	}
	defer f.Close()
	paths := a.pathsByID()
	all, changes := 0, 0
	for s := range f.All(func(sockets.Process) bool { return true }) {
		if err := ctx.Err(); err != nil {
			return err
		}
		all++
		number, ok := a.ruleOf(s, paths)
		text, changed := a.wouldChange(s, number, ok)
		if changed {
			changes++
		}
		sayOf(a.out, s, text)
	}
	lines, _ := new(selection).unseenLines(f)
	for _, line := range lines {
		fmt.Fprintln(a.stderr, line)
	}
	if a.inForceAlready() {
		fmt.Fprintln(a.stderr, "Rules are in force: what they have set is taken for what the programs want.")
	}
	fmt.Fprintf(a.stderr, "%s, %d to be changed. Nothing was set (--dry-run).\n", count(all, "socket", "sockets"), changes)
	return nil
}

func (a *applyCommand) wouldChange(s *sockets.Socket, number int, ok bool) (text string, changed bool) {
	switch {
	case s.State == sockets.Listen:
		return "listens: each connection has a rule of its own", false
	case !s.State.Synchronized():
		return "has a rule once it is connected", false
	case s.MPTCP:
		return "MPTCP is left alone", false
	case s.Group == 0:
		return "its control group can't be found out", false
	case !ok:
		return "it is not below the root of the rules", false
	case number < 0:
		return "no rule", false
	}
	r := a.policies[number]
	text = fmt.Sprintf("%s:%d (%v): %v", r.File, r.Line, r.Mode, s.Config)
	after := r.Mode.Of(r.Config, s.Config)
	if s.Config == keepalive.Config(after) {
		return text + " stays", false
	}
	return fmt.Sprintf("%s → %v", text, after), true
}

// inForceAlready reports whether rules of apply are in force, as far as the caller may
// know. The kernel tells nobody what a program wants beside them.
func (a *applyCommand) inForceAlready() bool {
	dir, err := a.top.Directory()
	if err != nil {
		return false
	}
	defer dir.Close()
	return cgrouppolicy.CheckNone(dir, nil) != nil
}
