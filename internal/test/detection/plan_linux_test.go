package detection

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
		if tcptest.Portable {
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
	netlab.NeedNamespace(t)
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
			if tcptest.Portable {
				assert.Equal(t, ofDocumented(t, keepalive.Config{}), d)
				return
			}
			if !ok {
				conn, since := tcptest.DialSilent(t, keepalive.Config{})
				tcptest.AssertOpenUntil(t, conn, since.Add(4*time.Second))
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
	conn, peer := tcptest.DialPair(t, c)
	since := tcptest.Exchange(t, conn, peer)
	// The first probe is due at Idle, the second an Interval later.
	time.Sleep(time.Until(since.Add(latest(c.Idle) + c.Interval/2)))
	netlab.MustSilence(t, peer.(*net.TCPConn))

	d, _ := c.DetectionTime()
	late := c.Interval - c.Idle
	err := tcptest.Read(conn)
	tcptest.AssertWithin(t, since, c.Idle+d+late-2*tcptest.Jiffy, latest(c.Idle)+latest(d+late)+500*time.Millisecond)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
}

// latest is when something happens that the kernel has a timer for: the wheel
// of kernel/time/timer.c keeps to 1/8 of what it waits for.
func latest(d time.Duration) time.Duration { return d / 8 * 9 }

// assertNoticed asserts how long the kernel takes to give a silent peer up that
// c holds an idle connection to.
func assertNoticed(t *testing.T, c keepalive.Config, least, most time.Duration) {
	t.Helper()
	tcptest.SkipUnsupported(t, c)
	conn, since := tcptest.DialSilent(t, c)
	err := tcptest.Read(conn)
	tcptest.AssertWithin(t, since, least-tcptest.Jiffy, most)
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
			tcptest.SkipUnsupported(t, c)
			conn, peer := tcptest.AcceptPair(t, c)
			tcptest.Silence(t, conn, peer)
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			err = tcptest.Read(conn)
			tcptest.AssertWithin(t, since, c.UserTimeout, detect)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}
