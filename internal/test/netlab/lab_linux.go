package netlab

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Lab is a client and a server on two networks, and a stateful firewall that
// routes between them.
type Lab struct {
	Client, Firewall, Server *Host
}

// Rules is what the firewall of a [Lab] does. It lets every connection pass that
// either side opens, for as long as it remembers it.
type Rules struct {
	// Established is how long the firewall remembers a connection that is
	// silent, in whole seconds: nf_conntrack_tcp_timeout_established. Zero
	// is the kernel's default, 5 days.
	Established time.Duration

	// Unknown is what becomes of the packets of a connection that the
	// firewall does not know, or no longer.
	Unknown Answer

	// Masquerade hides the client behind the address of the firewall.
	Masquerade bool

	// Loss is the share of TCP segments that get lost before the firewall
	// has seen them, in each direction: 0 to 0.5, in steps of 0.001.
	Loss float64
}

// Answer is what the sender of a packet hears that the firewall does not let
// pass.
type Answer string

// The answers of a firewall.
const (
	Drop        Answer = ""                                        // nothing
	Reset       Answer = "meta l4proto tcp reject with tcp reset"  // a segment that ends the connection
	Unreachable Answer = "reject with icmpx type host-unreachable" // an ICMP error
)

// making is held while a lab is made. Many tests make theirs at the same time, and
// would keep the processors from those that take the time.
var making sync.Mutex

// NewLab makes a lab that lasts until the test ends. It costs some tens of
// milliseconds; labs do not disturb each other.
//
// It needs iproute2, nftables, a kernel with IPv6 and conntrack, and rights
// that [Main] gets for an unprivileged process. What is missing skips the test;
// see [Skip].
func NewLab(t testing.TB, rules Rules) *Lab {
	t.Helper()
	for _, tool := range []string{"ip", "nft"} {
		LookPath(t, tool)
	}
	making.Lock()
	defer making.Unlock()
	client := &link{device: "eth0", ipv4: "192.0.2.2", ipv6: "2001:db8:1::2"}
	toClient := &link{device: "client", ipv4: "192.0.2.1", ipv6: "2001:db8:1::1", other: client}
	server := &link{device: "eth0", ipv4: "198.51.100.2", ipv6: "2001:db8:2::2"}
	toServer := &link{device: "server", ipv4: "198.51.100.1", ipv6: "2001:db8:2::1", other: server}
	client.other, server.other = toClient, toServer
	l := &Lab{Client: newHost(t, client), Firewall: newHost(t, toClient, toServer), Server: newHost(t, server)}
	// Where both ends happen to have the same index the kernel takes them for
	// no pair, and a second to notice that they are up: linkwatch_urgent_event.
	l.Firewall.ip(t, `link add client index 101 type veth peer name eth0 netns /proc/self/fd/3
link add server index 102 type veth peer name eth0 netns /proc/self/fd/4
`, l.Client.space.Load().file, l.Server.space.Load().file)
	l.filter(t, rules)
	l.Client.ip(t, l.Client.setup())
	l.Server.ip(t, l.Server.setup())
	l.Firewall.LinkUp(t)
	return l
}

// filter turns a host that could route into the firewall.
func (l *Lab) filter(t testing.TB, rules Rules) {
	t.Helper()
	l.Firewall.run(t, fmt.Sprintf(`table inet firewall {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state new tcp flags & (syn|ack) == syn accept
		%s
	}
}`, rules.Unknown), nil, "nft", "-f", "-")
	if rules.Masquerade {
		l.Firewall.run(t, `table inet nat {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "server" masquerade
	}
}`, nil, "nft", "-f", "-")
	}
	if rules.Loss != 0 {
		l.Firewall.run(t, fmt.Sprintf(`table inet loss {
	chain prerouting {
		type filter hook prerouting priority raw;
		meta l4proto tcp numgen random mod 1000 < %d drop
	}
}`, int(rules.Loss*1000)), nil, "nft", "-f", "-")
	}
	// Otherwise conntrack takes up a connection of which it sees the middle.
	l.Firewall.Sysctl(t, "net.netfilter.nf_conntrack_tcp_loose", "0")
	if rules.Established != 0 {
		seconds := int((rules.Established + time.Second - 1) / time.Second)
		l.Firewall.Sysctl(t, "net.netfilter.nf_conntrack_tcp_timeout_established", strconv.Itoa(seconds))
	}
	l.Firewall.Sysctl(t, "net.ipv4.ip_forward", "1")
	l.Firewall.Sysctl(t, "net.ipv6.conf.all.forwarding", "1")
}

// Forget makes the firewall forget every connection, as one does that restarts.
func (l *Lab) Forget(t testing.TB) {
	t.Helper()
	var err error
	l.Firewall.Do(func() { err = flushConntrack() })
	if err != nil {
		t.Fatal("netlab:", err)
	}
}

// Block makes the firewall go silent: it takes no notice of any packet, but for
// the neighbour discovery that keeps its address known. [Host.LinkDown] cuts
// its cables instead.
func (l *Lab) Block(t testing.TB) {
	t.Helper()
	l.Firewall.run(t, `table inet silence {
	chain prerouting {
		type filter hook prerouting priority -500; policy drop;
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
	}
}`, nil, "nft", "-f", "-")
}

// Unblock ends what Block began. The firewall still knows the connections that
// it would know without.
func (l *Lab) Unblock(t testing.TB) {
	t.Helper()
	l.Firewall.run(t, "delete table inet silence", nil, "nft", "-f", "-")
}
