//go:build ignore

package keepalive_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A firewall forgets a connection that is idle for longer than its timeout.
// Only where probes come sooner is the next write answered, ever.
func TestIdleBehindFirewall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		forgets, idle time.Duration
		config        keepalive.Config
	}{
		{3 * time.Second, 8 * time.Second, quick},
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
						conn := dialEcho(t, lab, network, client.dial)
						echoed(t, conn)
						time.Sleep(tt.idle)
						if client.answered {
							echoed(t, conn)
							return
						}
						_, err := conn.Write([]byte("x"))
						require.NoError(t, err)
						stillOpen(t, conn, time.Now().Add(2*time.Second))
						assert.NotZero(t, tcpInfo(t, conn).Unacked)
					})
				}
			}
		})
	}
}

// dialEcho connects, through the firewall, to a server that sends back what it
// reads, and probes nobody.
func dialEcho(t *testing.T, lab *netlab.Lab, network string, dial netlab.DialFunc) net.Conn {
	t.Helper()
	ln := lab.Server.Listen(t, &net.ListenConfig{KeepAlive: -1}, network, 0)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.Copy(conn, conn)
	}()
	conn, err := lab.Client.Within(dial)(t.Context(), network, ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// echoed asserts that a byte comes back.
func echoed(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
}
