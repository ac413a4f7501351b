//go:build ignore

package keepalive_test

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The kernel lets an operator write values that make no sense.
func TestDetectionTimeWithTheSystemsDefaults(t *testing.T) {
	netlab.NewNamespace(t)
	const s = time.Second
	for _, tt := range []struct {
		idle, interval, probes string
		config                 keepalive.Config
		want                   time.Duration
		never                  bool
	}{
		{idle: "7200", interval: "75", probes: "9", want: 7875 * s},
		{idle: "600", interval: "30", probes: "4", want: 720 * s},
		{idle: "600", interval: "30", probes: "4", config: keepalive.Config{Idle: s, Count: 2}, want: 61 * s},
		{idle: "600", interval: "30", probes: "4", config: keepalive.Config{UserTimeout: 601 * s}, want: 630 * s},
		{idle: "0", interval: "30", probes: "4", want: 120 * s},
		{idle: "600", interval: "0", probes: "4", want: 600 * s},
		{idle: "600", interval: "0", probes: "4", config: keepalive.Config{UserTimeout: 700 * s}, want: 700 * s},
		{idle: "600", interval: "30", probes: "0", want: 600 * s},
		{idle: "600", interval: "-1", probes: "0", want: 600 * s},
		{idle: "600", interval: "30", probes: "0", config: keepalive.Config{UserTimeout: s}, want: 630 * s},
		{idle: "8589934", interval: "8589934", probes: "255", want: 256 * 8589934 * s},
		{idle: "100000", interval: "75", probes: "9", want: 100675 * s},
		{idle: "-1", interval: "30", probes: "4", never: true},
		{idle: "600", interval: "-1", probes: "4", never: true},
		{idle: "600", interval: "-1", probes: "4", config: keepalive.Config{UserTimeout: s}, never: true},
	} {
		netlab.Sysctl(t, "tcp_keepalive_time", tt.idle)
		netlab.Sysctl(t, "tcp_keepalive_intvl", tt.interval)
		netlab.Sysctl(t, "tcp_keepalive_probes", tt.probes)
		if !native {
			tt.want, tt.never = ofDocumented(t, tt.config), false
		}
		d, ok := tt.config.DetectionTime()
		assert.Equal(t, tt.want, d, "%+v", tt)
		assert.Equal(t, !tt.never, ok, "%+v", tt)
		if e := tt.config.Effective(); e.Idle != 0 && e.Interval != 0 && e.Count != 0 {
			d, ok = e.DetectionTime()
			assert.Equal(t, tt.want, d, "%+v, of the effective Config", tt)
			assert.Equal(t, !tt.never, ok, "%+v, of the effective Config", tt)
		}
	}
}

// ofDocumented is the DetectionTime of c where what c leaves open is that of
// tcp(7), whatever the sysctl.
func ofDocumented(t *testing.T, c keepalive.Config) time.Duration {
	t.Helper()
	documented := keepalive.Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9}
	assert.Equal(t, documented, keepalive.SystemDefaults())
	if c.Idle != 0 {
		documented.Idle = c.Idle
	}
	if c.Count != 0 {
		documented.Count = c.Count
	}
	documented.UserTimeout = c.UserTimeout
	d, ok := documented.DetectionTime()
	assert.True(t, ok)
	return d
}

// The kernel's own timers agree, to the 1/8 that they may be late.
func TestDetectionTimeIsTheKernels(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, c := range []keepalive.Config{
		{Idle: 1 * s, Interval: 1 * s, Count: 1},
		{Idle: 1 * s, Interval: 1 * s, Count: 9},
		{Idle: 4 * s, Interval: 1 * s, Count: 2},
		{Idle: 1 * s, Interval: 3 * s, Count: 2},
		{Idle: 1500 * time.Millisecond, Interval: 2001 * time.Millisecond, Count: 1},
		{Idle: 4 * s, Interval: 1 * s, Count: 3, UserTimeout: 1},
		{Idle: 3 * s, Interval: 2 * s, Count: 4, UserTimeout: 2 * s},                     // below Idle
		{Idle: 1 * s, Interval: 3 * s, Count: 2, UserTimeout: 5500 * time.Millisecond},   // between probes
		{Idle: 1 * s, Interval: 3 * s, Count: 2, UserTimeout: 7 * s},                     // at a probe
		{Idle: 2 * s, Interval: 2 * s, Count: 1, UserTimeout: 6500 * time.Millisecond},   // above Count
		{Idle: 1 * s, Interval: 2 * s, Count: 127, UserTimeout: 2500 * time.Millisecond}, // below Count
		{Idle: 2 * s, Interval: 7 * s, Count: 127, UserTimeout: 2*s + 1},                 // just after Idle
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			t.Parallel()
			d, _ := c.DetectionTime()
			assertNoticed(t, c, d, latest(d)+500*time.Millisecond)
		})
	}
}

// It agrees with what an operator wrote into the sysctls as well, sense or not.
func TestDetectionTimeIsTheKernelsBySysctl(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ idle, interval, probes string }{
		{"2", "1", "2"},
		{"1", "0", "4"},
		{"1", "1", "0"},
		{"1", "-1", "0"},
		{"1", "-1", "1"},
		{"-1", "1", "1"},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			netlab.Sysctl(t, "tcp_keepalive_time", tt.idle)
			netlab.Sysctl(t, "tcp_keepalive_intvl", tt.interval)
			netlab.Sysctl(t, "tcp_keepalive_probes", tt.probes)
			d, ok := keepalive.Config{}.DetectionTime()
			if !native {
				assert.Equal(t, ofDocumented(t, keepalive.Config{}), d)
				return
			}
			if !ok {
				conn, since := silenced(t, keepalive.Config{}, false, false)
				stillOpen(t, conn, since.Add(4*time.Second))
				return
			}
			assertNoticed(t, keepalive.Config{}, d, latest(d)+500*time.Millisecond)
		})
	}
}

// A timer that is late takes a probe past UserTimeout, and the end comes with
// it instead of the next one.
func TestDetectionTimeWithALateProbe(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: 3 * time.Second, Interval: 3 * time.Second, Count: 3, UserTimeout: 6*time.Second + time.Millisecond}
	d, _ := c.DetectionTime()
	assert.Equal(t, 9*time.Second, d)
	assertNoticed(t, c, c.UserTimeout, latest(d)+500*time.Millisecond)
}

// After a probe that was answered the timer waits for an Interval, even where
// Idle is shorter.
func TestDetectionTimeAfterAnAnsweredProbe(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Second, Interval: 3 * time.Second, Count: 1}
	conn, peer := pair(t, &keepalive.Dialer{Config: c}, plainListen(t, "tcp4"))
	exchange(t, conn, peer)
	settled(t, conn, peer)
	require.Eventually(t, func() bool { // the probe has been answered
		info := tcpInfo(t, conn)
		return info.Last_ack_recv+500 < info.Last_data_recv
	}, 5*time.Second, time.Millisecond)
	since := time.Now().Add(-time.Duration(tcpInfo(t, conn).Last_ack_recv) * time.Millisecond)
	netlab.MustSilence(t, peer.(*net.TCPConn))

	d, _ := c.DetectionTime()
	late := c.Interval - c.Idle
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := conn.Read(make([]byte, 1))
	within(t, since, d+late-2*jiffy, latest(d+late)+500*time.Millisecond)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
}

// latest is when something happens that the kernel has a timer for: the wheel
// of kernel/time/timer.c keeps to 1/8 of what it waits for.
func latest(d time.Duration) time.Duration { return d / 8 * 9 }

// jiffy is the longest that there is, with HZ=100. The kernel counts them from
// the one in which a segment arrived.
const jiffy = 10 * time.Millisecond

// assertNoticed asserts how long the kernel takes to give a silent peer up that
// c holds an idle connection to.
func assertNoticed(t *testing.T, c keepalive.Config, least, most time.Duration) {
	t.Helper()
	if refused(t, c) {
		return
	}
	conn, since := silenced(t, c, false, false)
	conn.SetReadDeadline(since.Add(most + time.Minute))
	_, err := conn.Read(make([]byte, 1))
	within(t, since, least-jiffy, most)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
}

func TestPlanIsInTime(t *testing.T) {
	t.Parallel()
	for _, detect := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
		for _, unacked := range []bool{false, true} {
			target := keepalive.Target{Detect: detect, Unacked: unacked}
			t.Run(fmt.Sprintf("%+v", target), func(t *testing.T) {
				t.Parallel()
				c, err := keepalive.Plan(target)
				require.NoError(t, err)
				d, _ := c.DetectionTime()
				assertNoticed(t, c, d, detect)
			})
		}
		t.Run(fmt.Sprintf("%v with data in flight", detect), func(t *testing.T) {
			t.Parallel()
			c, err := keepalive.Plan(keepalive.Target{Detect: detect, Unacked: true})
			require.NoError(t, err)
			if refused(t, c) {
				return
			}
			conn, _ := silenced(t, c, true, false)
			since := time.Now()
			_, err = conn.Write([]byte("never acknowledged"))
			require.NoError(t, err)
			conn.SetReadDeadline(time.Now().Add(time.Minute))
			_, err = conn.Read(make([]byte, 1))
			within(t, since, c.UserTimeout, detect)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
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
	for _, network := range []string{"tcp4", "tcp6"} {
		ln := lab.Server.Listen(t, &keepalive.ListenConfig{Config: keepalive.Config{Disable: true}}, network, 0)
		for _, tt := range []struct {
			config   keepalive.Config
			answered bool
		}{
			{c, true},
			{keepalive.Config{Disable: true}, false},
		} {
			d := &keepalive.Dialer{Config: tt.config}
			client, err := lab.Client.Within(d.DialContext)(t.Context(), network, ln.Addr().String())
			require.NoError(t, err)
			t.Cleanup(func() { client.Close() })
			server, err := ln.Accept()
			require.NoError(t, err)
			t.Cleanup(func() { server.Close() })
			t.Run(fmt.Sprintf("%s %+v", network, tt.config), func(t *testing.T) {
				t.Parallel()
				exchange(t, client, server)
				time.Sleep(12 * time.Second)
				_, err := client.Write([]byte("x"))
				require.NoError(t, err)
				server.SetReadDeadline(time.Now().Add(time.Second))
				_, err = server.Read(make([]byte, 1))
				if tt.answered {
					require.NoError(t, err)
					exchange(t, client, server)
				} else {
					require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				}
			})
		}
	}
}
