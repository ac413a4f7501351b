// Package endpoints parses what selects addresses, such as 10.0.0.0/8:5432.
package endpoints

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// List is the value of a flag. It has what one of its endpoints has, or everything if
// it is empty.
type List []Endpoint

// Endpoint is a set of addresses and a port.
type Endpoint struct {
	Prefix netip.Prefix // every address if invalid
	Zone   string       // every interface if empty, and for an address of unknown zone
	Port   uint16       // every port if 0
}

// Has reports whether the list has an address.
func (e List) Has(addr netip.AddrPort) bool {
	return len(e) == 0 || slices.ContainsFunc(e, func(e Endpoint) bool { return e.Has(addr) })
}

// Has reports whether the endpoint has an address. It has none that is invalid.
func (e Endpoint) Has(addr netip.AddrPort) bool {
	return addr.IsValid() && (e.Port == 0 || e.Port == addr.Port()) &&
		(e.Zone == "" || addr.Addr().Zone() == "" || e.Zone == addr.Addr().Zone()) &&
		(!e.Prefix.IsValid() || e.Prefix.Contains(addr.Addr().WithZone("")))
}

// Type is what a flag calls its value.
func (e *List) Type() string { return "endpoint" }

// String and Set make it the value of a flag.
func (e *List) String() string { return "" }

// Set adds an endpoint.
func (e *List) Set(s string) error {
	parsed, err := Parse(s)
	if err == nil {
		*e = append(*e, parsed)
	}
	return err
}

// Parse parses CIDR[:PORT] or :PORT. IPv4-mapped addresses are IPv4's.
func Parse(s string) (e Endpoint, err error) {
	host, port := splitEndpoint(s)
	if port != "" {
		n, err := strconv.ParseUint(port[1:], 10, 16)
		if err != nil || n == 0 {
			return e, fmt.Errorf("port %q is no number from 1 to 65535", port[1:])
		}
		e.Port = uint16(n)
		if host == "" {
			return e, nil
		}
	}
	if strings.Contains(host, "/") {
		e.Prefix, err = parsePrefix(host)
		return e, err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return e, fmt.Errorf("%q is no address, want one such as 10.0.0.0/8:5432, [2001:db8::/32]:443 or :5432", host)
	}
	e.Zone = addr.Zone()
	addr = addr.WithZone("")
	if e.Zone != "" && !addr.IsLinkLocalUnicast() {
		return e, fmt.Errorf("%q has a zone, which only a link-local address such as fe80::1%%eth0 can have", host)
	}
	if _, err := strconv.Atoi(e.Zone); err == nil {
		return e, fmt.Errorf("%q has the index of an interface, want its name, such as fe80::1%%eth0", host)
	}
	addr = addr.Unmap()
	e.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	return e, nil
}

// parsePrefix parses a CIDR. That of IPv4-mapped IPv6 addresses is one of IPv4,
// as the sockets are shown.
func parsePrefix(s string) (netip.Prefix, error) {
	const mapped = 96 // bits of ::ffff:0:0/96
	p, err := netip.ParsePrefix(s)
	switch {
	case strings.Contains(s, "%"):
		return p, fmt.Errorf("%q has a zone, which a CIDR can't have: want an address such as fe80::1%%eth0", s)
	case err != nil:
		return p, fmt.Errorf("%q is no CIDR, want one such as 10.0.0.0/8", s)
	case !p.Addr().Is4In6():
		return p.Masked(), nil
	case p.Bits() < mapped:
		return p, fmt.Errorf("%q is of IPv4-mapped addresses, want at least /%d, or 0.0.0.0/0 for IPv4 and ::/0 for IPv6", s, mapped)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped).Masked(), nil
}

// splitEndpoint splits the port off, with its colon. IPv6 has brackets then,
// around the address or the CIDR.
func splitEndpoint(s string) (host, port string) {
	end := strings.LastIndexByte(s, ']') + 1
	i := strings.LastIndexByte(s[end:], ':')
	if i < 0 || end == 0 && strings.Count(s, ":") > 1 {
		i = len(s) - end
	}
	host, port = s[:end+i], s[end+i:]
	return strings.NewReplacer("[", "", "]", "").Replace(host), port
}
