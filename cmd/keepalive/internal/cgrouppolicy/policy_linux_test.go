package cgrouppolicy_test

import (
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/cgrouptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(cgrouptest.Run(m)) }

// hasMaxRTO reports whether the kernel has TCP_RTO_MAX_MS, as Linux 6.15 has.
var hasMaxRTO = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(fd)
	_, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS)
	return err != unix.ENOPROTOOPT
})

// supported leaves out of c what the kernel lacks.
func supported(c keepalive.Config) keepalive.Config {
	if !hasMaxRTO() {
		c.MaxRTO = 0
	}
	return c
}

// full names every option.
var full = supported(keepalive.Config{
	Idle: 61 * time.Second, Interval: 7 * time.Second, Count: 4,
	UserTimeout: 81 * time.Second, MaxRTO: 3 * time.Second,
})

// untouched is what a socket has that nobody has set.
func untouched() keepalive.Config {
	c := keepalive.SystemDefaults()
	c.Disable = true
	c.MaxRTO = 120 * time.Second // tcp_rto_max_ms
	return supported(c)
}

// merge returns what a socket has with the policy that would have other without.
func merge(policy, other keepalive.Config) keepalive.Config {
	merged := other
	merged.Disable = policy.Disable
	if policy.Idle != 0 {
		merged.Idle = policy.Idle
	}
	if policy.Interval != 0 {
		merged.Interval = policy.Interval
	}
	if policy.Count != 0 {
		merged.Count = policy.Count
	}
	if policy.UserTimeout != 0 {
		merged.UserTimeout = policy.UserTimeout
	}
	if policy.MaxRTO != 0 {
		merged.MaxRTO = policy.MaxRTO
	}
	return merged
}

func attach(t testing.TB, g *cgroup.Group, c keepalive.Config, mptcp bool) *cgrouppolicy.Attachment {
	t.Helper()
	a, err := cgrouppolicy.Attach(cgrouptest.Directory(t, g), c, mptcp)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return a
}

// socket is a socket of the group, which the test closes.
type socket int

func newSocket(t testing.TB, s *cgrouptest.Sockets, domain, typ, protocol int) socket {
	t.Helper()
	fd, err := s.Socket(t, domain, typ, protocol)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return socket(fd)
}

func (s socket) set(t testing.TB, level, name, value int) {
	t.Helper()
	require.NoError(t, unix.SetsockoptInt(int(s), level, name, value))
}

func (s socket) get(t testing.TB, level, name int) int {
	t.Helper()
	value, err := unix.GetsockoptInt(int(s), level, name)
	require.NoError(t, err)
	return value
}

// setAll has the program set a policy of its own.
func (s socket) setAll(t testing.TB) keepalive.Config {
	t.Helper()
	s.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	s.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15)
	s.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 16)
	s.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 17)
	s.set(t, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 18_000)
	if hasMaxRTO() {
		s.set(t, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, 19_000)
	}
	return supported(keepalive.Config{
		Idle: 15 * time.Second, Interval: 16 * time.Second, Count: 17,
		UserTimeout: 18 * time.Second, MaxRTO: 19 * time.Second,
	})
}

// held returns what the kernel holds.
func (s socket) held(t testing.TB) keepalive.Config {
	t.Helper()
	ms := func(name int) time.Duration {
		return time.Duration(s.get(t, unix.IPPROTO_TCP, name)) * time.Millisecond
	}
	held := keepalive.Config{
		Disable:     s.get(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0,
		Idle:        1000 * ms(unix.TCP_KEEPIDLE),
		Interval:    1000 * ms(unix.TCP_KEEPINTVL),
		Count:       s.get(t, unix.IPPROTO_TCP, unix.TCP_KEEPCNT),
		UserTimeout: ms(unix.TCP_USER_TIMEOUT),
	}
	if hasMaxRTO() {
		held.MaxRTO = ms(unix.TCP_RTO_MAX_MS)
	}
	return held
}

// listen returns a socket that listens on the loopback address of its domain.
func listen(t testing.TB, s *cgrouptest.Sockets, domain, protocol int) socket {
	t.Helper()
	ln := newSocket(t, s, domain, unix.SOCK_STREAM, protocol)
	var address unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if domain == unix.AF_INET6 {
		address = &unix.SockaddrInet6{Addr: [16]byte(net.IPv6loopback)}
	}
	require.NoError(t, unix.Bind(int(ln), address))
	require.NoError(t, unix.Listen(int(ln), 128))
	return ln
}

// connect connects a socket to one that listens, and returns the accepted one.
func connect(t testing.TB, client, ln socket) (server socket) {
	t.Helper()
	address, err := unix.Getsockname(int(ln))
	require.NoError(t, err)
	require.NoError(t, unix.Connect(int(client), address))
	fd, _, err := unix.Accept4(int(ln), unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return socket(fd)
}

// pair returns both ends of a connection of sockets of the group.
func pair(t testing.TB, s *cgrouptest.Sockets) (client, server socket) {
	t.Helper()
	client = newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, 0)
	return client, connect(t, client, listen(t, s, unix.AF_INET, 0))
}

var policies = []keepalive.Config{
	full,
	{},
	{Idle: time.Second},
	{Interval: time.Second, Count: 3},
	{UserTimeout: 1500 * time.Millisecond},
	supported(keepalive.Config{MaxRTO: time.Second}),
	{Disable: true},
	supported(keepalive.Config{Disable: true, Idle: 32767 * time.Second, Interval: 32767 * time.Second, Count: 127, UserTimeout: 2147483647 * time.Millisecond, MaxRTO: 2 * time.Minute}),
}

// Both ends hold the policy from birth, whatever their programs set, and when.
// What it leaves out is what they would have without it.
func TestAttach(t *testing.T) {
	t.Parallel()
	cgrouptest.Need(t)
	for _, c := range policies {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			g := cgrouptest.New(t)
			s := cgrouptest.NewSockets(t, g)
			attach(t, g, c, false)
			for name, domain := range map[string]int{"IPv4": unix.AF_INET, "IPv6": unix.AF_INET6} {
				t.Run(name, func(t *testing.T) {
					ln := listen(t, s, domain, 0)
					client := newSocket(t, s, domain, unix.SOCK_STREAM, 0)
					server := connect(t, client, ln)
					want := merge(c, untouched())
					assert.Equal(t, want, client.held(t))
					assert.Equal(t, want, server.held(t))
					assert.Equal(t, untouched(), ln.held(t), "a listening socket needs none")

					want = merge(c, client.setAll(t))
					server.setAll(t)
					assert.Equal(t, want, client.held(t), "set on a connection")
					assert.Equal(t, want, server.held(t), "set on a connection")

					client = newSocket(t, s, domain, unix.SOCK_STREAM, 0)
					client.setAll(t)
					ln.setAll(t)
					assert.Equal(t, want, ln.held(t), "set while it listens")
					assert.Equal(t, want, client.held(t), "set before it connects")
					server = connect(t, client, ln)
					assert.Equal(t, want, client.held(t), "set before it connects")
					assert.Equal(t, want, server.held(t), "inherited")
				})
			}
		})
	}
}

// A program can't turn keepalive off, and can't set what no socket accepts.
func TestProgramAsksForNonsense(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	attach(t, g, full, false)
	client, _ := pair(t, s)
	client.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	client.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, -1)
	client.set(t, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)
	assert.Equal(t, full, client.held(t))
	assert.Equal(t, unix.EINVAL, unix.SetsockoptString(int(client), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, "abc"), "shorter than an int")
	assert.NoError(t, unix.SetsockoptString(int(client), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, "longer than an int"))
	assert.Equal(t, full, client.held(t))
}

// Whatever is no option of the policy on a TCP socket is left alone.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	attach(t, g, full, false)
	for name, other := range map[string][3]int{
		"UDP":  {unix.AF_INET, unix.SOCK_DGRAM, 0},
		"unix": {unix.AF_UNIX, unix.SOCK_STREAM, 0},
		"raw":  {unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP},
	} {
		fd := newSocket(t, s, other[0], other[1], other[2])
		for _, value := range []int{1, 0} {
			fd.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, value)
			assert.Equal(t, value, fd.get(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE), name)
		}
	}
	client, _ := pair(t, s)
	client.set(t, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	assert.Equal(t, 1, client.get(t, unix.IPPROTO_TCP, unix.TCP_NODELAY))
	client.set(t, unix.IPPROTO_IP, unix.IP_RECVOPTS, 0) // has the number of TCP_KEEPCNT
	assert.Zero(t, client.get(t, unix.IPPROTO_IP, unix.IP_RECVOPTS))
}

// A program may set a value of more than a page, of which eBPF sees a page.
func TestLongValue(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	attach(t, g, full, false)
	fd := newSocket(t, s, unix.AF_INET, unix.SOCK_STREAM, 0)
	device := "lo" + string(make([]byte, 4*os.Getpagesize()))
	require.NoError(t, unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device))
	bound, err := unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	require.NoError(t, err)
	assert.Equal(t, "lo", bound)
}

func TestMPTCP(t *testing.T) {
	t.Parallel()
	cgrouptest.Need(t)
	for _, allowed := range []bool{false, true} {
		t.Run(strconv.FormatBool(allowed), func(t *testing.T) {
			t.Parallel()
			g := cgrouptest.New(t)
			s := cgrouptest.NewSockets(t, g)
			attach(t, g, keepalive.Config{Idle: 61 * time.Second, Interval: 7 * time.Second, Count: 4}, allowed)
			for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
				fd, err := s.Socket(t, domain, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)
				if !allowed {
					require.ErrorIs(t, err, unix.EPERM)
					newSocket(t, s, domain, unix.SOCK_STREAM, unix.IPPROTO_TCP)
					continue
				}
				require.NoError(t, err)
				client := socket(fd)
				t.Cleanup(func() { unix.Close(fd) })
				client.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15)
				server := connect(t, client, listen(t, s, domain, unix.IPPROTO_MPTCP))
				for _, end := range []socket{client, server} {
					end.set(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
					end.set(t, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 17)
					assert.Equal(t, 1, end.get(t, unix.SOL_SOCKET, unix.SO_KEEPALIVE))
					assert.Equal(t, 4, end.get(t, unix.IPPROTO_TCP, unix.TCP_KEEPCNT))
				}
				assert.Equal(t, 61, client.get(t, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
			}
		})
	}
}

// The policy of an outer group wins, whichever came first. What it leaves out is
// the inner one's.
func TestOuterPolicyWins(t *testing.T) {
	t.Parallel()
	cgrouptest.Need(t)
	outer := keepalive.Config{Idle: 61 * time.Second, Count: 4}
	inner := keepalive.Config{Disable: true, Idle: 30 * time.Second, Interval: 9 * time.Second}
	want := merge(outer, merge(inner, untouched()))
	for _, first := range []string{"outer", "inner"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			g := cgrouptest.New(t)
			below := cgrouptest.Below(t, g)
			s := cgrouptest.NewSockets(t, below)
			if first == "outer" {
				attach(t, g, outer, false)
			}
			attach(t, below, inner, false)
			if first == "inner" {
				attach(t, g, outer, false)
			}
			client, server := pair(t, s)
			for _, end := range []socket{client, server} {
				assert.Equal(t, want, end.held(t))
				asked := end.setAll(t)
				assert.Equal(t, merge(outer, merge(inner, asked)), end.held(t))
			}
		})
	}
}

// Connections keep what they have, and are guarded no longer.
func TestClose(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	s := cgrouptest.NewSockets(t, g)
	a := attach(t, g, full, false)
	old, _ := pair(t, s)
	require.NoError(t, a.Close())
	assert.Equal(t, full, old.held(t))
	assert.Equal(t, old.setAll(t), old.held(t))
	client, server := pair(t, s)
	assert.Equal(t, untouched(), client.held(t))
	assert.Equal(t, untouched(), server.held(t))
}

// A socket belongs to the group of the process that made it, and an accepted one
// to that of the socket that listens.
func TestSocketsOfAnotherGroup(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	inside := cgrouptest.NewSockets(t, g)
	outside := cgrouptest.NewSockets(t, cgrouptest.New(t))
	attach(t, g, full, false)
	ln := listen(t, outside, unix.AF_INET, 0)
	client := newSocket(t, inside, unix.AF_INET, unix.SOCK_STREAM, 0)
	server := connect(t, client, ln)
	assert.Equal(t, full, client.held(t))
	assert.Equal(t, untouched(), server.held(t))
	assert.Equal(t, server.setAll(t), server.held(t))
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	g := cgrouptest.New(t)
	c := keepalive.Config{Idle: time.Millisecond * -1}
	_, err := cgrouppolicy.Attach(cgrouptest.Directory(t, g), c, false)
	assert.ErrorContains(t, err, "Idle")
	assert.ErrorContains(t, cgrouppolicy.Check(cgrouptest.Directory(t, g), c), "Idle")
}

// The kernel allows 64 programs of a kind on a group. The next attachment names
// that limit, leaves nothing attached, and is possible once another has ended.
func TestAttachTooOften(t *testing.T) {
	t.Parallel()
	group := cgrouptest.Directory(t, cgrouptest.New(t))
	attach := func() (*cgrouppolicy.Attachment, error) {
		return cgrouppolicy.Attach(group, keepalive.Config{Idle: time.Minute}, false)
	}
	var all []*cgrouppolicy.Attachment
	defer func() {
		for _, a := range all {
			a.Close()
		}
	}()
	for range 64 {
		a, err := attach()
		require.NoError(t, err)
		all = append(all, a)
	}
	_, err := attach()
	assert.EqualError(t, err, "eBPF: 64 programs of one kind are attached to the cgroup, and the kernel allows no more: "+
		"end another keepalive attach on it (bpftool cgroup show lists the programs)")
	require.NoError(t, all[0].Close())
	all[0], err = attach()
	assert.NoError(t, err)
}
