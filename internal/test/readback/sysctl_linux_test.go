package readback

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSysctlIsFollowed(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			netlab.Sysctl(t, "tcp_keepalive_time", "111")
			netlab.Sysctl(t, "tcp_keepalive_intvl", "22")
			netlab.Sysctl(t, "tcp_keepalive_probes", "4")
			set := keepalive.Config{Idle: 111 * time.Second, Interval: 22 * time.Second, Count: 4}
			require.Equal(t, set, tcptest.Sysctls(t))
			if !tcptest.Portable {
				assert.Equal(t, set, keepalive.SystemDefaults())
			}
			c := keepalive.Config{}
			if path.unsupported(t, c) {
				return
			}
			for _, socket := range path.open(t, "tcp4", c) {
				tcptest.AssertOptions(t, path.want(t, socket, c), socket)
			}
			c = keepalive.Config{Interval: 7 * time.Second}
			for _, socket := range path.open(t, "tcp6", c) {
				tcptest.AssertOptions(t, path.want(t, socket, c), socket)
			}
		})
	}
}

// Options that nobody wrote follow the sysctl while the socket lives, on those
// paths that need not write them.
func TestSysctlIsFollowedLive(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	c := keepalive.Config{Count: 6}
	sockets := map[any]path{}
	for _, path := range paths {
		if !path.fresh || path.unsupported(t, c) {
			continue
		}
		for _, socket := range path.open(t, "tcp4", c) {
			sockets[socket] = path
		}
	}
	assert.NotEmpty(t, sockets)
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "33")
	netlab.Sysctl(t, "tcp_keepalive_probes", "5")
	for socket, path := range sockets {
		tcptest.AssertOptions(t, path.want(t, socket, c), socket)
	}
}

// What has no use for the system's defaults does without them.
func TestSysctlThatNoSocketAcceptsAndOtherNetworks(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "0")
	inner, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer inner.Close()
	ln, err := keepalive.NewListener(inner, keepalive.Config{})
	require.NoError(t, err)
	tcptest.Pair(t, tcptest.DialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext)), ln)

	// A TCP connection of a listener that merges several has a use for them.
	_, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	merged, err := keepalive.NewListener(&tcptest.FakeListener{Listener: inner, Conns: []net.Conn{accepted}}, keepalive.Config{})
	require.NoError(t, err)
	_, err = merged.Accept()
	if tcptest.Portable {
		assert.NoError(t, err, "what is not written can't be refused")
	} else {
		assert.ErrorContains(t, err, "net.ipv4.tcp_keepalive_time is 0")
	}
}

// The system's defaults are read once per listener and wrapped dialer.
func TestDefaultsAreReadOnce(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	ln, err := keepalive.NewListener(tcptest.PlainListen(t, "tcp4"), keepalive.Config{})
	require.NoError(t, err)
	dial := tcptest.DialFunc(keepalive.Config{}.WrapDial(new(net.Dialer).DialContext))
	netlab.Sysctl(t, "tcp_keepalive_time", "222")
	dialed, accepted := tcptest.Pair(t, dial, ln)
	idle := 111 * time.Second
	if tcptest.Portable {
		idle = tcptest.NetDefault.Idle // nothing is read
	}
	assert.Equal(t, idle, tcptest.Options(t, dialed).Idle)
	assert.Equal(t, idle, tcptest.Options(t, accepted).Idle)
}
