package cgrouppolicy_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/endpoints"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/rules"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// everyone is the membership of a group that has all rows.
func everyone(rows int) map[uint64]cgrouppolicy.Membership {
	var m cgrouppolicy.Membership
	for i := range rows {
		m.Rows.Set(i)
	}
	return map[uint64]cgrouppolicy.Membership{0: m}
}

func row(c keepalive.Config, mode rules.Mode) cgrouppolicy.Row {
	return cgrouppolicy.Row{Rule: cgrouppolicy.Rule{Config: c, Mode: mode}}
}

func hold(t testing.TB, g *cgroup.Group, rows ...cgrouppolicy.Row) *cgrouppolicy.Rules {
	t.Helper()
	cgrouptest.NeedRules(t)
	r, err := cgrouppolicy.NewRules(nil)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	require.NoError(t, r.Replace(rows, everyone(len(rows))))
	require.NoError(t, r.Attach(cgrouptest.Directory(t, g)))
	return r
}

// setWanted has a program set a policy. An option is left alone where it is zero.
func (s socket) setWanted(t testing.TB, c keepalive.Config) {
	t.Helper()
	for i := range policy.Options {
		o := &policy.Options[i]
		if v := o.Value(policy.Config(c)); v != 0 {
			s.set(t, int(o.Level), int(o.Number), v)
		}
	}
	on := 1
	if c.Disable {
		on = 0
	}
	s.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, on)
}

var replication = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}

// Go's 15/15/9 and 60/5/3 give 15/5/12, and a program may loosen what it has
// tightened, down to the policy.
func TestRulesTighten(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	hold(t, g, row(replication, rules.Tighten))
	client, _ := pair(t, s)
	want := merge(replication, untouched())
	assert.Equal(t, want, client.held(t), "keepalive is off")
	client.setWanted(t, keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9})
	want.Idle, want.Count = 15*time.Second, 12
	assert.Equal(t, want, client.held(t))
	client.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1)
	want.Interval, want.Count = time.Second, 9
	assert.Equal(t, want, client.held(t))
	client.setWanted(t, keepalive.Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9})
	assert.Equal(t, merge(replication, untouched()), client.held(t))
	client.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	assert.Equal(t, merge(replication, untouched()), client.held(t), "it takes the policy")
	assert.Equal(t, unix.EINVAL, unix.SetsockoptInt(int(client), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, -1), "the kernel refuses it")
	assert.Equal(t, merge(replication, untouched()), client.held(t))
}

// What is not above zero is no value to be stricter by, though sysctls can have it: the
// policy bounds what the connection holds, and what it leaves out stays.
func TestRulesTightenSysctls(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	held := hold(t, g, row(replication, rules.Tighten))
	for _, sysctls := range [][2]string{{"0", "0"}, {"0", "75"}, {"7200", "0"}, {"-1", "-1"}, {"-1", "75"}, {"7200", "-1"}} {
		netlab.Sysctl(t, "tcp_keepalive_time", sysctls[0])
		netlab.Sysctl(t, "tcp_keepalive_intvl", sysctls[1])
		for _, c := range []keepalive.Config{replication, {Idle: time.Minute}, {Interval: time.Second, Count: 9}} {
			require.NoError(t, held.Replace([]cgrouppolicy.Row{row(c, rules.Tighten)}, everyone(1)))
			client := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP)
			client.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			wanted := client.held(t)
			connect(t, client, listen(t, s, unix.AF_INET, unix.IPPROTO_TCP))
			assert.Equal(t, rules.Tighten.Of(c, wanted), client.held(t), "%v of %v", c, sysctls)
			bound, _ := replication.DetectionTime()
			if c == replication {
				detected, _ := client.held(t).DetectionTime()
				assert.LessOrEqual(t, detected, bound, sysctls)
			}
		}
	}
}

// Rules for more groups than there can be leave the old ones in force, and room for
// other groups.
func TestRulesOfTooManyGroups(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	r := hold(t, g, row(replication, rules.Set))
	groups := everyone(1)
	for id := range uint64(1 << 17) {
		groups[id+1] = groups[0]
	}
	require.Error(t, r.Replace([]cgrouppolicy.Row{row(full, rules.Set)}, groups))
	assert.NoError(t, r.AddGroup(1, groups[0]))
	client, _ := pair(t, s)
	assert.Equal(t, merge(replication, untouched()), client.held(t))
}

// A socket that connect(2) disconnects and connects again has the rule of the new
// connection alone, and what its program wants.
func TestRulesOfSocketsConnectedAgain(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	var listeners [3]socket
	var rows []cgrouppolicy.Row
	for i := range listeners {
		listeners[i] = listen(t, s, unix.AF_INET, unix.IPPROTO_TCP)
		r := row(replication, rules.Mode(i%2))
		r.Remote.Port = end(t, int(listeners[i]), unix.Getsockname).Port()
		rows = append(rows, r)
	}
	hold(t, g, rows[:2]...)
	client := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	disconnected := func() {
		t.Helper()
		require.NoError(t, sockopt.Disconnect(uintptr(client)))
	}
	connect(t, client, listeners[0])
	assert.Equal(t, merge(replication, untouched()), client.held(t))
	disconnected()
	wanted := merge(keepalive.Config{Idle: 40 * time.Second}, untouched())
	client.setWanted(t, wanted)
	connect(t, client, listeners[1])
	want := rules.Tighten.Of(replication, wanted)
	assert.Equal(t, want, client.held(t))
	disconnected()
	connect(t, client, listeners[2])
	assert.Equal(t, wanted, client.held(t), "no rule is for it")
	client.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 44)
	assert.Equal(t, 44, client.get(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
	disconnected()
	connect(t, client, listeners[0])
	assert.Equal(t, merge(replication, untouched()), client.held(t))
}

// randomPolicy returns one that sockets accept. Each option may be left out.
func randomPolicy(r *rand.Rand, complete bool) keepalive.Config {
	var c policy.Config
	for i := range policy.Options {
		o := &policy.Options[i]
		if !complete && r.IntN(3) == 0 || o.Key == "max_rto" && !hasMaxRTO() || o.Zero != policy.SystemDefault && r.IntN(2) == 0 {
			continue
		}
		most := min(o.Max, 100*max(1, o.Min))
		if r.IntN(2) == 0 {
			most = o.Max
		}
		value := o.Min + r.IntN(most-o.Min+1)
		if o.Tick > 0 {
			value -= value % 1000 // the kernel rounds it up otherwise
		}
		c = o.WithValue(c, value)
	}
	c.Disable = r.IntN(4) == 0
	return keepalive.Config(c)
}

// Programs of eBPF compute what Mode.Of does.
func TestRulesCompute(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	r := rand.New(rand.NewPCG(1, 2))
	held := hold(t, g, row(replication, rules.Set))
	client, _ := pair(t, s)
	for range 1000 {
		c, mode := randomPolicy(r, false), rules.Mode(r.IntN(2))
		c.Disable = c.Disable && mode == rules.Set
		rule := cgrouppolicy.Rule{Config: c, Mode: mode}
		require.NoError(t, held.Order(int(client), &rule, r.IntN(2) == 0))
		wanted := randomPolicy(r, true)
		client.setWanted(t, wanted)
		client.set(t, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(wanted.UserTimeout.Milliseconds()))
		if wanted.MaxRTO == 0 && hasMaxRTO() {
			wanted.MaxRTO = 120 * time.Second
			client.set(t, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, 120_000)
		}
		require.Equal(t, mode.Of(c, wanted), client.held(t), "%v of %v, %v", mode, c, wanted)
	}
}

// A connection that was open before holds a rule once it is ordered to, and what its
// program wants once no rule is for it.
func TestRulesOrder(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	client, _ := pair(t, s)
	gos := keepalive.Config{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 9}
	client.setWanted(t, gos)
	gos = merge(gos, untouched())
	rule := row(replication, rules.Tighten)
	held := hold(t, g, rule)
	assert.Equal(t, gos, client.held(t))
	require.NoError(t, held.Order(int(client), &rule.Rule, false))
	want := gos
	want.Interval, want.Count = 5*time.Second, 12
	assert.Equal(t, want, client.held(t))

	looser := row(keepalive.Config{Idle: time.Hour}, rules.Set)
	require.NoError(t, held.Replace([]cgrouppolicy.Row{looser}, everyone(1)))
	require.NoError(t, held.Order(int(client), &looser.Rule, false))
	want = gos
	want.Idle = time.Hour
	assert.Equal(t, want, client.held(t), "what the other rule has set is gone")
	client.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 7)
	require.NoError(t, held.Order(int(client), nil, false))
	want = gos
	want.Count = 7
	assert.Equal(t, want, client.held(t))
	client.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 33)
	assert.Equal(t, 33*time.Second, client.held(t).Idle, "no rule is for it")
}

// Programs can't order, and a setsockopt that looks like an order is the kernel's.
func TestRulesOrderIsPrivate(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	rule := row(replication, rules.Set)
	hold(t, g, rule)
	other, err := cgrouppolicy.NewRules(nil)
	require.NoError(t, err)
	defer other.Close()
	client, _ := pair(t, s)
	assert.ErrorIs(t, other.Order(int(client), nil, false), unix.ENOPROTOOPT)
	assert.Equal(t, merge(replication, untouched()), client.held(t))
}

// With a probe out an order sends no other one: two of them would end a connection to
// a live peer that is a round trip away. What is overdue is sent otherwise.
func TestRulesOrderWhileProbing(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	held := hold(t, g)
	client, server := pair(t, s)
	require.NoError(t, netlab.Silence(server))
	probes := func() uint8 {
		info, err := unix.GetsockoptTCPInfo(int(client), unix.IPPROTO_TCP, unix.TCP_INFO)
		require.NoError(t, err)
		return info.Probes
	}
	await := func(condition func() bool, text string) {
		t.Helper()
		require.Eventually(t, condition, 30*time.Second, 10*time.Millisecond, text)
	}
	order := func(idle time.Duration) {
		t.Helper()
		rule := row(keepalive.Config{Idle: idle, Interval: 20 * time.Second, Count: 20}, rules.Set).Rule
		require.NoError(t, held.Order(int(client), &rule, probes() > 0))
		assert.Equal(t, idle, client.held(t).Idle)
		assert.False(t, client.held(t).Disable)
	}
	const idle = 3 * time.Second
	heard := time.Now()
	await(func() bool { return time.Since(heard) > idle+100*time.Millisecond }, "quiet for more than Idle")
	order(idle)
	await(func() bool { return probes() == 1 }, "the overdue probe")
	for range 5 {
		order(2 * idle)
		order(idle) // which is overdue
		ordered := time.Now()
		await(func() bool { return time.Since(ordered) > 100*time.Millisecond }, "a timer that has no time left")
		n := probes()
		if time.Since(ordered) > idle/2 {
			return // this machine is too busy to tell
		}
		assert.EqualValues(t, 1, n)
	}
}

// SyscallConn makes a socket one that [netlab.Silence] takes.
func (s socket) SyscallConn() (syscall.RawConn, error) { return rawSocket(s), nil }

type rawSocket int

func (r rawSocket) Control(f func(fd uintptr)) error { f(uintptr(r)); return nil }
func (rawSocket) Read(func(fd uintptr) bool) error   { return errors.ErrUnsupported }
func (rawSocket) Write(func(fd uintptr) bool) error  { return errors.ErrUnsupported }

// The programs match the row that comes first, as package rules does.
func TestRulesMatch(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	r := rand.New(rand.NewPCG(3, 4))
	held := hold(t, g)
	for range 100 {
		ln, client, server := randomPair(t, s, r)
		local, remote := end(t, int(client), unix.Getsockname), end(t, int(client), unix.Getpeername)
		var rows []cgrouppolicy.Row
		var all []*rules.Rule
		for i := range 1 + r.IntN(100) {
			rule := &rules.Rule{Remote: []endpoints.Endpoint{randomEnd(r, remote)}, Local: []endpoints.Endpoint{randomEnd(r, local)}}
			for _, ends := range rule.Combinations() { // none of IPv4 and IPv6
				one := row(keepalive.Config{Idle: time.Duration(i+1) * time.Second}, rules.Set)
				one.Remote, one.Local = ends[0], ends[1]
				rows = append(rows, one)
			}
			all = append(all, rule)
		}
		// The connection is made anew from the same port to the same one.
		domain, err := unix.GetsockoptInt(int(client), unix.SOL_SOCKET, unix.SO_DOMAIN)
		require.NoError(t, err)
		address, err := unix.Getsockname(int(client))
		require.NoError(t, err)
		client.reset(t)
		server.reset(t)
		require.NoError(t, held.Replace(rows, everyone(len(rows))))
		client = newSocket(t, s, domain, unix.SOCK_STREAM, 0)
		client.set(t, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err := unix.Bind(int(client), address); err == unix.EADDRINUSE {
			continue // another test has the port now
		} else {
			require.NoError(t, err)
		}
		server = connectAcross(t, client, ln, domain)
		check := func(end socket, local, remote netip.AddrPort) {
			want := untouched()
			for i, rule := range all {
				if rule.MatchesAddresses(local, remote) {
					want.Disable, want.Idle = false, time.Duration(i+1)*time.Second
					break
				}
			}
			require.Equal(t, want, end.held(t), "%v %v", local, remote)
		}
		check(client, local, remote)
		check(server, remote, local)
	}
}

// reset closes a connection without TIME_WAIT. The descriptor stays, for the cleanup.
func (s socket) reset(t testing.TB) {
	t.Helper()
	require.NoError(t, unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	require.NoError(t, unix.Dup3(int(null.Fd()), int(s), unix.O_CLOEXEC))
}

// end returns an address of a socket.
func end(t testing.TB, fd int, get func(int) (unix.Sockaddr, error)) netip.AddrPort {
	t.Helper()
	address, err := get(fd)
	require.NoError(t, err)
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	require.Fail(t, "no address")
	return netip.AddrPort{}
}

// randomPair returns a connection of IPv4, IPv6 or of IPv4-mapped addresses.
func randomPair(t testing.TB, s *cgrouptest.Sockets, r *rand.Rand) (ln, client, server socket) {
	t.Helper()
	domains := [][2]int{{unix.AF_INET, unix.AF_INET}, {unix.AF_INET6, unix.AF_INET6}, {unix.AF_INET6, unix.AF_INET}, {unix.AF_INET, unix.AF_INET6}}
	of := domains[r.IntN(len(domains))]
	ln = newSocket(t, s, of[0], unix.SOCK_STREAM, 0)
	var address unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, byte(r.IntN(2)), 0, byte(1 + r.IntN(4))}}
	if of[0] == unix.AF_INET6 {
		address = &unix.SockaddrInet6{Addr: [16]byte(net.IPv6loopback)}
		if of[1] == unix.AF_INET {
			address = &unix.SockaddrInet6{Addr: netip.MustParseAddr("::ffff:127.0.0.3").As16()}
		}
	}
	require.NoError(t, unix.Bind(int(ln), address))
	require.NoError(t, unix.Listen(int(ln), 8))
	client = newSocket(t, s, of[1], unix.SOCK_STREAM, 0)
	return ln, client, connectAcross(t, client, ln, of[1])
}

// connectAcross connects a socket of a domain to one that listens in another one.
func connectAcross(t testing.TB, client, ln socket, domain int) (server socket) {
	t.Helper()
	at := end(t, int(ln), unix.Getsockname)
	var address unix.Sockaddr = &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}
	if domain == unix.AF_INET {
		address = &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}
	}
	require.NoError(t, unix.Connect(int(client), address))
	fd, _, err := unix.Accept4(int(ln), unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return socket(fd)
}

// randomEnd returns an endpoint that may have the address.
func randomEnd(r *rand.Rand, near netip.AddrPort) (e endpoints.Endpoint) {
	if r.IntN(3) > 0 {
		e.Port = near.Port() + uint16(r.IntN(2))
	}
	switch r.IntN(4) {
	case 0:
		e.Prefix = netip.PrefixFrom(netip.IPv6Unspecified(), r.IntN(128))
	case 1, 2:
		address := near.Addr().AsSlice()
		address[r.IntN(len(address))] ^= byte(r.IntN(2))
		some, _ := netip.AddrFromSlice(address)
		e.Prefix = netip.PrefixFrom(some, r.IntN(some.BitLen()+1)).Masked()
	}
	return e
}

// A known group has rows that others do not have, and those below it are groups of
// their own.
func TestRulesGroups(t *testing.T) {
	t.Parallel()
	cgrouptest.NeedRules(t)
	top := cgrouptest.New(t)
	known := cgrouptest.Below(t, top)
	below := cgrouptest.Below(t, known)
	ofAll, ofKnown := row(replication, rules.Set), row(full, rules.Set)
	r, err := cgrouppolicy.NewRules(nil)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	rows := []cgrouppolicy.Row{ofKnown, ofAll}
	var unknown cgrouppolicy.Membership
	unknown.Rows.Set(1)
	var both cgrouppolicy.Membership
	both.Rows.Set(0)
	both.Rows.Set(1)
	both.RefuseMPTCP = 1
	require.NoError(t, r.Replace(rows, map[uint64]cgrouppolicy.Membership{0: unknown, idOf(t, known): both}))
	require.NoError(t, r.Attach(cgrouptest.Directory(t, top)))
	holds := func(g *cgroup.Group, c keepalive.Config) {
		t.Helper()
		client, server := pair(t, cgrouptest.NewSockets(t, g))
		assert.Equal(t, merge(c, untouched()), client.held(t))
		assert.Equal(t, merge(c, untouched()), server.held(t))
	}
	holds(known, full)
	holds(below, replication)
	holds(top, replication)
	require.NoError(t, r.AddGroup(idOf(t, below), both))
	holds(below, full)
	_, err = cgrouptest.NewSockets(t, below).Socket(t, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	assert.ErrorIs(t, err, unix.EPERM)
	newSocket(t, cgrouptest.NewSockets(t, top), unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	r.RemoveGroup(idOf(t, below))
	holds(below, replication)
	require.NoError(t, r.Replace(rows, map[uint64]cgrouppolicy.Membership{0: unknown}))
	holds(known, replication)
}

func idOf(t testing.TB, g *cgroup.Group) uint64 {
	t.Helper()
	var stat unix.Stat_t
	require.NoError(t, unix.Fstat(int(cgrouptest.Directory(t, g).Fd()), &stat))
	return stat.Ino
}

// MPTCP is left alone.
func TestRulesMPTCP(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	hold(t, g, row(full, rules.Set))
	ln := listen(t, s, unix.AF_INET, unix.IPPROTO_MPTCP)
	client := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
	server := connect(t, client, ln)
	for name, end := range map[string]socket{"client": client, "server": server} {
		assert.Zero(t, end.get(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE), name)
		end.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		assert.Equal(t, 1, end.get(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE), fmt.Sprint(name, " sets it"))
	}
}
