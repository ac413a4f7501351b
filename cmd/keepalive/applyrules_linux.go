package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// machinePolicies are the rules of a machine, in order.
type machinePolicies []*rules.Rule

// rows returns the rules as programs of eBPF read them.
func (m machinePolicies) rows() (rows []cgrouppolicy.Row) {
	for i, r := range m {
		for _, ends := range r.Combinations() {
			rows = append(rows, cgrouppolicy.Row{Remote: ends[0], Local: ends[1], Rule: m.rule(i)})
		}
	}
	return rows
}

func (m machinePolicies) rule(number int) cgrouppolicy.Rule {
	return cgrouppolicy.Rule{Config: m[number].Config, Mode: m[number].Mode}
}

// membership returns which rows may be for connections of a group.
func (m machinePolicies) membership(path string) cgrouppolicy.Membership {
	return m.membershipIf(func(r *rules.Rule) bool { return r.MatchesGroup(path) })
}

// membershipOfUnknown returns which rows may be for connections of an unknown group.
func (m machinePolicies) membershipOfUnknown() cgrouppolicy.Membership {
	return m.membershipIf(func(r *rules.Rule) bool { return !r.HasGroups() })
}

func (m machinePolicies) membershipIf(matches func(*rules.Rule) bool) (s cgrouppolicy.Membership) {
	row, decided := 0, false
	for _, r := range m {
		matched := matches(r)
		for range r.Combinations() {
			if matched {
				s.Rows.Set(row)
			}
			row++
		}
		if matched && !r.HasAddresses() && !decided {
			decided = true
			if r.RefuseMPTCP {
				s.RefuseMPTCP = 1
			}
		}
	}
	return s
}

// of returns the number of the rule for a connection whose group has a path, "" where
// that is unknown, or -1.
func (m machinePolicies) of(s *sockets.Socket, group string) int {
	for i, r := range m {
		if group == "" && r.HasGroups() || group != "" && !r.MatchesGroup(group) {
			continue
		}
		if r.MatchesAddresses(s.Local, s.Remote) {
			return i
		}
	}
	return -1
}

// checkGroups returns an error for rules that name groups of cgroup v1, which no
// program of eBPF sees.
func (m machinePolicies) checkGroups(groups map[string]uint64) error {
	missing := slices.DeleteFunc(slices.Clone(m), func(r *rules.Rule) bool { return !r.HasGroups() || hasGroupOf(r, groups) })
	if len(missing) == 0 {
		return nil
	}
	old, err := cgroup.OldGroups()
	if err != nil {
		return err
	}
	return missing.areOld(old, groups)
}

func hasGroupOf(r *rules.Rule, groups map[string]uint64) bool {
	for path := range groups {
		if r.MatchesGroup(path) {
			return true
		}
	}
	return false
}

// areOld returns an error for rules that match no group now, and can match none: what
// they name is a group of version 1, or a unit of a systemd that has its own there.
func (m machinePolicies) areOld(old []cgroup.OldGroup, groups map[string]uint64) error {
	var problems []error
	units := cgroup.HasOldUnits(old, maps.Keys(groups))
	for _, r := range m {
		i := slices.IndexFunc(old, func(g cgroup.OldGroup) bool { return r.MatchesGroup(g.Path) })
		what := ""
		switch {
		case i >= 0:
			what = fmt.Sprintf("%s is a control group of version 1 (%s) on this machine", old[i].Path, old[i].Controllers)
		case units && len(r.Units) > 0:
			what = "systemd has its units in control groups of version 1 on this machine"
		default:
			continue
		}
		problems = append(problems, fmt.Errorf("%v: the rule can never match: %s, and rules see those of version 2: want remote or local, or systemd.unified_cgroup_hierarchy=1 on the kernel's command line", r.Position, what))
	}
	return errors.Join(problems...)
}
