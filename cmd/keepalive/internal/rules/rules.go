// Package rules reads the rules of "keepalive apply": which TCP connections of a
// machine hold which keepalive policy.
package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
)

// A Rule says what the connections hold that match it.
type Rule struct {
	Position // of the rule

	// Those of the keys that a rule has must all match, and one of the values of
	// each.
	Remote, Local []endpoints.Endpoint
	Units         []Unit
	Groups        []Group

	// Config has the options that connections hold. Those whose fields are zero
	// are left to the programs.
	Config      keepalive.Config
	Mode        Mode
	RefuseMPTCP bool
}

// A Position is where something is in a file.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// HasGroups reports whether the rule is for some groups only.
func (r *Rule) HasGroups() bool { return len(r.Units)+len(r.Groups) > 0 }

// HasAddresses reports whether the rule is for some addresses only.
func (r *Rule) HasAddresses() bool { return len(r.Remote)+len(r.Local) > 0 }

// MatchesAddresses reports whether the rule is for a connection with these ends.
func (r *Rule) MatchesAddresses(local, remote netip.AddrPort) bool {
	return endpoints.List(r.Remote).Has(remote) && endpoints.List(r.Local).Has(local)
}

// MatchesGroup reports whether the rule is for the control group with a path, as
// /proc/PID/cgroup has it.
func (r *Rule) MatchesGroup(path string) bool {
	return (len(r.Units) == 0 || slices.ContainsFunc(r.Units, func(u Unit) bool { return u.Has(path) })) &&
		(len(r.Groups) == 0 || slices.ContainsFunc(r.Groups, func(g Group) bool { return g.Has(path) }))
}

// Combinations returns the pairs of a remote and a local end for which the rule is.
// The zero Endpoint is everything.
func (r *Rule) Combinations() (pairs [][2]endpoints.Endpoint) {
	for _, remote := range orAny(r.Remote) {
		for _, local := range orAny(r.Local) {
			if !isMixed(remote, local) {
				pairs = append(pairs, [2]endpoints.Endpoint{remote, local})
			}
		}
	}
	return pairs
}

func orAny(list []endpoints.Endpoint) []endpoints.Endpoint {
	if len(list) == 0 {
		return []endpoints.Endpoint{{}}
	}
	return list
}

// isMixed reports whether one end is of IPv4 and the other of IPv6, as no connection
// has them.
func isMixed(a, b endpoints.Endpoint) bool {
	return a.Prefix.IsValid() && b.Prefix.IsValid() && a.Prefix.Addr().Is4() != b.Prefix.Addr().Is4()
}
