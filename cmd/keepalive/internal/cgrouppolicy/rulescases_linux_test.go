package cgrouppolicy_test

import (
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What no socket accepts is an error of the program's setsockopt, unless the rule sets
// something else whatever the program says.
func TestRulesOfNonsense(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	hold(t, g, row(keepalive.Config{Idle: time.Minute, Count: 3}, rules.Set))
	client, _ := pair(t, s)
	before := client.held(t)
	for name, want := range map[int]error{
		unix.TCP_KEEPIDLE: nil, unix.TCP_KEEPCNT: nil, unix.TCP_KEEPINTVL: unix.EINVAL, unix.TCP_USER_TIMEOUT: unix.EINVAL,
	} {
		assert.Equal(t, want, unix.SetsockoptInt(int(client), unix.IPPROTO_TCP, name, -1), name)
		assert.Equal(t, before, client.held(t), name)
	}
}

// A connection that is open already holds a rule, with a probe out or without, and has
// all that it had once no rule is for it.
func TestRulesOrderOfOpenConnection(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	var clients []socket
	for range 2 {
		client, _ := pair(t, s)
		client.setWanted(t, keepalive.Config{Idle: 15 * time.Second, Interval: 14 * time.Second, Count: 9})
		clients = append(clients, client)
	}
	before := clients[0].held(t)
	rule := row(full, rules.Set)
	held := hold(t, g, rule)
	for i, client := range clients {
		probing := i == 1
		require.NoError(t, held.Order(int(client), &rule.Rule, probing))
		assert.Equal(t, merge(full, before), client.held(t), "probing: %v", probing)
		require.NoError(t, held.Order(int(client), nil, probing))
		assert.Equal(t, before, client.held(t), "probing: %v", probing)
	}
}

// What a rule names does not follow a sysctl, even if both are equal at first.
func TestRulesDoNotFollowSysctls(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "60")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "7")
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	hold(t, g, row(keepalive.Config{Idle: time.Minute}, rules.Set))
	client, server := pair(t, s)
	netlab.Sysctl(t, "tcp_keepalive_time", "99")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "8")
	for _, end := range []socket{client, server} {
		assert.Equal(t, time.Minute, end.held(t).Idle)
		assert.Equal(t, 8*time.Second, end.held(t).Interval, "which the rule leaves to the program")
	}
}

// A rule that turns keepalive off does so for a program that had it on before.
func TestRulesOff(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	hold(t, g, row(keepalive.Config{Disable: true}, rules.Set))
	client := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, 0)
	client.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	connect(t, client, listen(t, s, unix.AF_INET, 0))
	assert.True(t, client.held(t).Disable)
	client.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	assert.True(t, client.held(t).Disable)
}

// A group has the rows that are its own, wherever they are in the table.
func TestRulesOfManyRows(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	var rows []cgrouppolicy.Row
	for i := range 300 {
		rows = append(rows, row(keepalive.Config{Idle: time.Duration(1000+i) * time.Second}, rules.Set))
	}
	held := hold(t, g, rows...)
	for _, i := range []int{0, 1, 63, 64, 65, 127, 128, 200, 299} {
		var m cgrouppolicy.Membership
		m.Rows.Set(i)
		require.NoError(t, held.Replace(rows, map[uint64]cgrouppolicy.Membership{0: m}))
		client, _ := pair(t, s)
		assert.Equal(t, rows[i].Rule.Config.Idle, client.held(t).Idle)
	}
}

// Each bit of a prefix of IPv6 counts, at both ends.
func TestRulesOfPrefixes(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	out, err := exec.Command(netlab.LookPath(t, "ip"), "-6", "route", "add", "local", "2001:db8::/32", "dev", "lo").CombinedOutput()
	require.NoError(t, err, "%s", out)
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	held := hold(t, g)
	here, there := netip.MustParseAddr("2001:db8:1:2:3:4:5:6"), netip.MustParseAddr("2001:db8:f:e:d:c:b:a")
	connected := func() socket {
		ln := newSocket(t, s, unix.AF_INET6, unix.SOCK_STREAM, 0)
		client := newSocket(t, s, unix.AF_INET6, unix.SOCK_STREAM, 0)
		for socket, address := range map[socket]netip.Addr{ln: there, client: here} {
			socket.set(t, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1)
			require.NoError(t, unix.Bind(int(socket), &unix.SockaddrInet6{Addr: address.As16()}))
		}
		require.NoError(t, unix.Listen(int(ln), 1))
		connect(t, client, ln)
		return client
	}
	for _, bits := range []int{1, 16, 32, 33, 48, 63, 64, 65, 96, 127, 128} {
		for _, local := range []bool{false, true} {
			address := there
			if local {
				address = here
			}
			flipped := address.As16()
			flipped[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
			other := netip.AddrFrom16(flipped)
			var rows []cgrouppolicy.Row
			for i, a := range []netip.Addr{other, address} { // the first has another last bit
				r := row(keepalive.Config{Idle: time.Duration(100+i) * time.Second}, rules.Set)
				end := endpoints.Endpoint{Prefix: netip.PrefixFrom(a, bits).Masked()}
				if local {
					r.Local = end
				} else {
					r.Remote = end
				}
				rows = append(rows, r)
			}
			require.NoError(t, held.Replace(rows, everyone(2)))
			assert.Equal(t, 101*time.Second, connected().held(t).Idle, "/%d, local: %v", bits, local)
		}
	}
}
