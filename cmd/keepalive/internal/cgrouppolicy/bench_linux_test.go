package cgrouppolicy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/benchpair"
	"golang.org/x/sys/unix"
)

// usual is what docs/run.md gives the costs of.
var usual = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}

// usualOptions are what a program sets that sets the same.
var usualOptions = [][3]int{
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 75_000},
}

// A connection is opened, accepted and closed over loopback: in a group with the
// policy, in one without, and in one without by a program that sets the same
// options on both ends.
func BenchmarkConnection(b *testing.B) {
	with, without, program := group(b, &usual), group(b, nil), group(b, nil)
	benchpair.Benchmark(b,
		connecting(b, "policy", with, false),
		connecting(b, "without", without, false),
		connecting(b, "setsockopt", program, true),
	)
}

// The same connection in a group with a thousand rules, of which the last one matches,
// and with that one alone.
func BenchmarkRules(b *testing.B) {
	var rows []cgrouppolicy.Row
	for i := range cgrouppolicy.MaxRows - 1 {
		other := row(usual, rules.Set)
		other.Remote.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 32)
		rows = append(rows, other)
	}
	benchpair.Benchmark(b,
		connecting(b, "thousand", ruled(b, append(rows, ofLoopback())...), false),
		connecting(b, "one", ruled(b, ofLoopback()), false),
	)
}

// The same with one rule, and without.
func BenchmarkRule(b *testing.B) {
	benchpair.Benchmark(b,
		connecting(b, "rule", ruled(b, ofLoopback()), false),
		connecting(b, "without", group(b, nil), false),
	)
}

func ofLoopback() cgrouppolicy.Row {
	rule := row(usual, rules.Set)
	rule.Remote.Prefix = netip.MustParsePrefix("127.0.0.0/8")
	return rule
}

func ruled(b *testing.B, rows ...cgrouppolicy.Row) *cgrouptest.Sockets {
	g := cgrouptest.New(b)
	s := cgrouptest.NewSockets(b, g)
	hold(b, g, rows...)
	return s
}

// One setsockopt of an option of the policy, on an open connection.
func BenchmarkSetsockopt(b *testing.B) {
	with, without, rule := group(b, &usual), group(b, nil), ruled(b, row(usual, rules.Set))
	benchpair.Benchmark(b, setting(b, "policy", with), setting(b, "rule", rule), setting(b, "without", without))
}

// group returns a maker of sockets in a group of its own, with a policy or
// without.
func group(b *testing.B, c *keepalive.Config) *cgrouptest.Sockets {
	g := cgrouptest.New(b)
	s := cgrouptest.NewSockets(b, g)
	if c != nil {
		attach(b, g, *c, false)
	}
	return s
}

func connecting(b *testing.B, name string, s *cgrouptest.Sockets, sets bool) benchpair.Contender {
	ln := listen(b, s, unix.AF_INET, 0)
	address, err := unix.Getsockname(int(ln))
	benchpair.NoError(b, err)
	var clients []int
	return benchpair.Contender{
		Name: name,
		Prepare: func(calls int) {
			for range calls {
				fd, err := s.Socket(b, unix.AF_INET, unix.SOCK_STREAM, 0)
				benchpair.NoError(b, err)
				// Without TIME_WAIT.
				benchpair.NoError(b, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
				clients = append(clients, fd)
			}
		},
		Do: func() {
			client := clients[len(clients)-1]
			clients = clients[:len(clients)-1]
			benchpair.NoError(b, unix.Connect(client, address))
			server, _, err := unix.Accept4(int(ln), unix.SOCK_CLOEXEC)
			benchpair.NoError(b, err)
			if sets {
				for _, o := range usualOptions {
					benchpair.NoError(b, unix.SetsockoptInt(client, o[0], o[1], o[2]))
					benchpair.NoError(b, unix.SetsockoptInt(server, o[0], o[1], o[2]))
				}
			}
			unix.Close(client)
			unix.Close(server)
		},
	}
}

func setting(b *testing.B, name string, s *cgrouptest.Sockets) benchpair.Contender {
	client, _ := pair(b, s)
	return benchpair.Contender{
		Name: name,
		Do:   func() { benchpair.NoError(b, unix.SetsockoptInt(int(client), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5)) },
	}
}
