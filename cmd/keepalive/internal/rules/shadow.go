package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
)

// contradiction returns why no connection can match a rule, or nil.
func (r *Rule) contradiction() error {
	if len(r.Combinations()) == 0 {
		return fmt.Errorf("the rule can never match: remote and local are of IPv4 and IPv6, and no connection has both")
	}
	if len(r.Units) == 0 || len(r.Groups) == 0 {
		return nil
	}
	for _, u := range r.Units {
		if slices.ContainsFunc(r.Groups, u.meets) {
			return nil
		}
	}
	return fmt.Errorf("the rule can never match: no group of unit is one of cgroup or below it")
}

// shadow returns the earlier rule that leaves a rule no connection, or the last one of
// several that do so together, or nil.
func (r *Rule) shadow(earlier []*Rule) *Rule {
	wanted := byFamily(r.Combinations())
	var pairs [][2]endpoints.Endpoint
	var covering []*Rule
	for _, e := range earlier {
		if e.coversGroups(r) {
			pairs = append(pairs, byFamily(e.Combinations())...)
			covering = append(covering, e)
		}
	}
	if !areCovered(wanted, pairs) {
		return nil
	}
	for _, e := range covering {
		if areCovered(wanted, byFamily(e.Combinations())) {
			return e
		}
	}
	pairs = nil
	for _, e := range covering {
		pairs = append(pairs, byFamily(e.Combinations())...)
		if areCovered(wanted, pairs) {
			return e
		}
	}
	return nil // not reached: all of them cover it
}

func areCovered(wanted, pairs [][2]endpoints.Endpoint) bool {
	return !slices.ContainsFunc(wanted, func(pair [2]endpoints.Endpoint) bool { return !isCovered(pair, pairs) })
}

// coversGroups reports whether the rule is for all groups that another one is for.
func (r *Rule) coversGroups(other *Rule) bool {
	byUnit := !slices.ContainsFunc(other.Units, func(o Unit) bool {
		return !slices.ContainsFunc(r.Units, func(u Unit) bool { return u.name.covers(o.name) })
	}) && len(other.Units) > 0
	ofGroup := !slices.ContainsFunc(other.Groups, func(g Group) bool {
		return !slices.ContainsFunc(r.Units, func(u Unit) bool { return u.coversGroup(g) })
	}) && len(other.Groups) > 0
	byGroup := !slices.ContainsFunc(other.Groups, func(o Group) bool {
		return !slices.ContainsFunc(r.Groups, func(g Group) bool { return g.covers(o) })
	}) && len(other.Groups) > 0
	return (len(r.Units) == 0 || byUnit || ofGroup) && (len(r.Groups) == 0 || byGroup)
}

// byFamily returns pairs in which both ends have a prefix.
func byFamily(pairs [][2]endpoints.Endpoint) (families [][2]endpoints.Endpoint) {
	for _, pair := range pairs {
		for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
			of := pair
			for end := range of {
				if !of[end].Prefix.IsValid() {
					of[end].Prefix = all
				}
			}
			if !isMixed(of[0], of[1]) {
				families = append(families, of)
			}
		}
	}
	return families
}

// isCovered reports whether the pairs have every connection that a pair has: those of
// them that have all of one end have the other end together.
func isCovered(pair [2]endpoints.Endpoint, pairs [][2]endpoints.Endpoint) bool {
	for end := range pair {
		var prefixes []netip.Prefix
		for _, p := range pairs {
			other := p[1-end]
			if hasPort(p[end], pair[end]) && hasPort(other, pair[1-end]) && union([]netip.Prefix{other.Prefix}, pair[1-end].Prefix) {
				prefixes = append(prefixes, p[end].Prefix)
			}
		}
		if union(prefixes, pair[end].Prefix) {
			return true
		}
	}
	return false
}

func hasPort(e, other endpoints.Endpoint) bool { return e.Port == 0 || e.Port == other.Port }

// union reports whether the prefixes have all addresses of p together.
func union(prefixes []netip.Prefix, p netip.Prefix) bool {
	var inside []netip.Prefix
	for _, other := range prefixes {
		switch {
		case !other.Overlaps(p):
		case other.Bits() <= p.Bits():
			return true
		default:
			inside = append(inside, other)
		}
	}
	if len(inside) == 0 {
		return false
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	return union(inside, low) && union(inside, netip.PrefixFrom(upperHalf(p), p.Bits()+1))
}

// upperHalf returns the first address of the upper half of a prefix.
func upperHalf(p netip.Prefix) netip.Addr {
	address := p.Addr().AsSlice()
	address[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	upper, _ := netip.AddrFromSlice(address)
	return upper
}
