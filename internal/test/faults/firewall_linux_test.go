// Package faults makes what goes wrong between two hosts, the table of
// docs/faults.md, and holds what a policy promises then.
package faults

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// A firewall forgets a connection that is idle for longer than its timeout.
// Only where probes come sooner is the next write answered, ever.
func TestIdleBehindFirewall(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for _, tt := range []struct {
		forgets, idle time.Duration
		config        keepalive.Config
	}{
		{3 * time.Second, 8 * time.Second, tcptest.Quick},
		// 60/5/3 and what it is for, six times as fast. It takes two probes
		// to get through.
		{10 * time.Second, 21 * time.Second, keepalive.Config{Idle: 6 * time.Second, Interval: time.Second, Count: 3}},
	} {
		t.Run(fmt.Sprintf("%v of %v", tt.idle, tt.forgets), func(t *testing.T) {
			t.Parallel()
			lab := netlab.NewLab(t, netlab.Rules{Established: tt.forgets})
			for name, client := range map[string]struct {
				dial     netlab.DialFunc
				answered bool
			}{
				"tuned":              {(&keepalive.Dialer{Config: tt.config}).DialContext, true},
				"net's default":      {new(net.Dialer).DialContext, false},
				"the system default": {new(keepalive.Dialer).DialContext, false},
			} {
				for _, network := range []string{"tcp4", "tcp6"} {
					t.Run(name+" "+network, func(t *testing.T) {
						t.Parallel()
						conn, peer := dialAcross(t, lab, network, client.dial)
						tcptest.Exchange(t, conn, peer)
						time.Sleep(tt.idle)
						if client.answered {
							tcptest.Exchange(t, conn, peer)
							return
						}
						require.NoError(t, tcptest.Write(conn))
						tcptest.AssertOpenUntil(t, conn, time.Now().Add(2*time.Second))
						assert.NotZero(t, tcptest.TCPInfo(t, conn).Unacked)
					})
				}
			}
		})
	}
}

// A firewall with a timeout of 5 s still knows a connection that a plan for that
// holds, though it has been idle for 12 s, and has forgotten one without probes.
func TestPlanKeepsThePath(t *testing.T) {
	t.Parallel()
	const timeout = 5 * time.Second
	c, err := keepalive.Plan(keepalive.Target{IdleLimit: timeout})
	require.NoError(t, err)
	lab := netlab.NewLab(t, netlab.Rules{Established: timeout})
	for _, tt := range []struct {
		config   keepalive.Config
		answered bool
	}{
		{c, true},
		{keepalive.Config{Disable: true}, false},
	} {
		for _, network := range []string{"tcp4", "tcp6"} {
			t.Run(fmt.Sprint(network, " ", tt.config), func(t *testing.T) {
				t.Parallel()
				client, server := dialAcross(t, lab, network, (&keepalive.Dialer{Config: tt.config}).DialContext)
				tcptest.Exchange(t, client, server)
				time.Sleep(12 * time.Second)
				if tt.answered {
					tcptest.Exchange(t, client, server)
					return
				}
				require.NoError(t, tcptest.Write(client))
				tcptest.AssertOpenUntil(t, server, time.Now().Add(time.Second))
			})
		}
	}
}

// RFC 1122, section 4.2.3.9, has ICMP protocol unreachable end a connection. On
// Linux it is a soft error like any other.
func TestProtocolUnreachable(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{Unknown: "reject with icmp type prot-unreachable"})
	inFlight := func(c keepalive.Config) (conn net.Conn, since time.Time) {
		conn, peer := dialAcross(t, lab, "tcp4", (&keepalive.Dialer{Config: c}).DialContext)
		tcptest.Exchange(t, conn, peer)
		lab.Forget(t)
		since = time.Now()
		require.NoError(t, tcptest.Write(conn))
		return conn, since
	}
	for _, c := range []keepalive.Config{{}, tcptest.Supported(keepalive.Config{UserTimeout: 3 * time.Second})} {
		conn, since := inFlight(c)
		if c.UserTimeout == 0 {
			tcptest.AssertOpenUntil(t, conn, since.Add(3*time.Second))
			continue
		}
		err := tcptest.Read(conn)
		tcptest.AssertWithin(t, since, c.UserTimeout, c.UserTimeout*3/2+500*time.Millisecond)
		assert.ErrorIs(t, err, syscall.ENOPROTOOPT)
	}
}

// dialAcross connects through the firewall to a server that probes nobody.
func dialAcross(t *testing.T, lab *netlab.Lab, network string, dial netlab.DialFunc) (client, server net.Conn) {
	t.Helper()
	ln := lab.Server.Listen(t, &keepalive.ListenConfig{Config: keepalive.Config{Disable: true}}, network, 0)
	return tcptest.Pair(t, tcptest.DialFunc(lab.Client.Within(dial)), ln)
}
