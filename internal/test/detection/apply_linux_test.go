//go:build !keepalive_portable

package detection

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What a connection has been through when another policy is applied.
var pasts = []struct {
	name string
	wait func(*testing.T, net.Conn, *net.TCPConn)
}{
	{"new", func(*testing.T, net.Conn, *net.TCPConn) {}},
	{"after an answered probe", func(t *testing.T, conn net.Conn, peer *net.TCPConn) { awaitAnswer(t, conn, peer) }},
	{"with a probe unanswered", func(t *testing.T, conn net.Conn, peer *net.TCPConn) {
		netlab.MustSilence(t, peer)
		require.Eventually(t, func() bool { return tcptest.TCPInfo(t, conn).Probes > 0 }, 20*time.Second, 5*time.Millisecond)
	}},
}

// awaitAnswer waits until the peer has answered a probe.
func awaitAnswer(t *testing.T, conn net.Conn, peer *net.TCPConn) {
	t.Helper()
	before := tcptest.TCPInfo(t, peer).Segs_in
	require.Eventually(t, func() bool { return tcptest.TCPInfo(t, peer).Segs_in > before }, 20*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool { return tcptest.TCPInfo(t, conn).Probes == 0 }, time.Second, time.Millisecond)
}

// The policy that is applied counts, whatever the timer was armed with: a peer
// that falls silent is noticed within its DetectionTime.
func TestAppliedPolicyCounts(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	type pair struct{ before, after keepalive.Config }
	s := time.Second
	pairs := []pair{
		{keepalive.Config{Idle: s, Interval: 15 * s, Count: 3}, keepalive.Config{Idle: s, Interval: s, Count: 3}},
		{keepalive.Config{Idle: 5 * s, Interval: 15 * s, Count: 3}, keepalive.Config{Idle: 5 * s, Interval: s, Count: 3}},
		{keepalive.Config{Idle: s, Interval: 15 * s, Count: 9}, keepalive.Config{Idle: s, Interval: 2 * s, Count: 1}},
		{keepalive.Config{Idle: s, Interval: 5 * s, Count: 3}, keepalive.Config{Idle: s, Interval: 5 * s, Count: 1}},
		{keepalive.Config{Idle: s, Interval: s, Count: 9}, keepalive.Config{Idle: 3 * s, Interval: 2 * s, Count: 2}},
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	policy := func() keepalive.Config {
		c := keepalive.Config{Idle: time.Duration(1+random.IntN(3)) * s, Interval: time.Duration(1+random.IntN(4)) * s, Count: 1 + random.IntN(3)}
		if random.IntN(3) == 0 {
			c.UserTimeout = time.Duration(1+random.IntN(6000)) * time.Millisecond
		}
		return c
	}
	for range 12 {
		p := pair{policy(), policy()}
		p.before.Count, p.before.UserTimeout = 9, 0 // outlives the wait
		pairs = append(pairs, p)
	}
	for _, p := range pairs {
		for _, past := range pasts {
			t.Run(fmt.Sprintf("%v to %v %s", p.before, p.after, past.name), func(t *testing.T) {
				t.Parallel()
				conn, peer := pairOf(t, p.before)
				past.wait(t, conn, peer)
				require.NoError(t, p.after.Apply(conn))
				applied := time.Now()
				netlab.MustSilence(t, peer)
				d, ok := p.after.DetectionTime()
				require.True(t, ok)
				if p.before.Idle == p.after.Idle && p.before.Interval == p.after.Interval {
					// Nothing is armed anew, so that the wait of an Interval
					// goes on that follows an answered probe.
					d += max(0, p.after.Interval-p.after.Idle)
				}
				timeout(t, conn, applied, d)
			})
		}
	}
}

func pairOf(t *testing.T, c keepalive.Config) (conn net.Conn, peer *net.TCPConn) {
	t.Helper()
	conn, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.Listen(t, &net.ListenConfig{KeepAlive: -1}, "tcp4"))
	return conn, accepted.(*net.TCPConn)
}

// timeout asserts that the kernel gives the peer up within d, as far as its
// timers are in time.
func timeout(t *testing.T, conn net.Conn, since time.Time, d time.Duration) {
	t.Helper()
	most := d*9/8 + 500*time.Millisecond
	conn.SetReadDeadline(since.Add(most + 5*time.Second))
	_, err := conn.Read(make([]byte, 1))
	tcptest.AssertWithin(t, since, 0, most)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
}

// A sysctl that is lowered counts for a connection that follows it only once
// the timer that was armed before has fired. What is applied counts at once.
func TestAppliedPolicyCountsAfterALoweredSysctl(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "1")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "15")
	conn, peer := pairOf(t, keepalive.Config{})
	awaitAnswer(t, conn, peer)
	netlab.Sysctl(t, "tcp_keepalive_intvl", "1")
	require.NoError(t, tcptest.Quick.Apply(conn))
	applied := time.Now()
	netlab.MustSilence(t, peer)
	timeout(t, conn, applied, 4*time.Second)
}

func TestAppliedPolicyCountsAfterKeepaliveWasOff(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	for _, idle := range []time.Duration{0, 2 * time.Second} {
		t.Run(idle.String(), func(t *testing.T) {
			t.Parallel()
			conn, peer := pairOf(t, keepalive.Config{Disable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 9})
			<-time.After(idle) // nothing happens on a connection that is idle
			require.NoError(t, tcptest.Quick.Apply(conn))
			applied := time.Now()
			netlab.MustSilence(t, peer)
			timeout(t, conn, applied, 4*time.Second)
		})
	}
}

// An equal policy that is applied again and again sends no probe that is not
// due, and does not put one off.
func TestApplyAgainSendsNoProbe(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	for _, tt := range []struct {
		policy   keepalive.Config
		least    int // probes in the time that follows
		most     int
		answered bool
	}{
		{keepalive.Config{Idle: time.Second, Interval: 15 * time.Second, Count: 3}, 0, 0, true},
		{keepalive.Config{Idle: time.Second, Interval: 15 * time.Second, Count: 3}, 0, 0, false},
		{keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 9}, 3, 5, true},
		{keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 9}, 3, 5, false},
		{keepalive.Config{Idle: time.Second, Interval: 2 * time.Second, Count: 9}, 1, 3, true},
		{keepalive.Config{Idle: 2 * time.Second, Interval: time.Second, Count: 9}, 1, 3, true},
		{keepalive.Config{Idle: 1, Interval: 1, Count: 9}, 3, 5, false}, // rounded up
	} {
		t.Run(fmt.Sprintf("%v, answered %v", tt.policy, tt.answered), func(t *testing.T) {
			t.Parallel()
			conn, peer := pairOf(t, tt.policy)
			awaitAnswer(t, conn, peer)
			if !tt.answered {
				// The peer answers the next one no more.
				conn, peer = pairOf(t, tt.policy)
				netlab.MustSilence(t, peer)
				require.Eventually(t, func() bool { return tcptest.TCPInfo(t, conn).Probes > 0 }, 5*time.Second, time.Millisecond)
			}
			before := tcptest.TCPInfo(t, conn).Segs_out
			for end := time.Now().Add(4500 * time.Millisecond); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
				require.NoError(t, tt.policy.Apply(conn))
			}
			sent := int(tcptest.TCPInfo(t, conn).Segs_out - before)
			assert.GreaterOrEqual(t, sent, tt.least)
			assert.LessOrEqual(t, sent, tt.most)
			conn.SetReadDeadline(time.Now())
			_, err := conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

// Probes that are out count towards the new Count, until the peer answers one.
func TestProbesThatAreOutCount(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	const s = time.Second
	before := keepalive.Config{Idle: s, Interval: s, Count: 20}
	for _, tt := range []struct {
		policy keepalive.Config
		ends   bool
	}{
		{keepalive.Config{Idle: 8 * s, Interval: s, Count: 3}, true},
		{keepalive.Config{Idle: 8 * s, Interval: s, Count: 4}, true},
		{keepalive.Config{Idle: 8 * s, Interval: s, Count: 9}, false},
		{keepalive.Config{Idle: 8 * s, Interval: s, Count: 9, UserTimeout: 5 * s}, true},
		{keepalive.Config{Idle: 8 * s, Interval: s, Count: 3, UserTimeout: 20 * s}, false},
	} {
		t.Run(tt.policy.String(), func(t *testing.T) {
			t.Parallel()
			conn, peer := pairOf(t, before)
			tcptest.Silence(t, conn, peer)
			tcptest.AwaitProbes(t, conn, peer, 4)
			since := time.Now()
			require.NoError(t, tt.policy.Apply(conn)) // starts a full Idle
			require.NoError(t, netlab.Wake(peer))
			if !tt.ends {
				tcptest.AssertOpenUntil(t, conn, since.Add(10*s))
				assert.Zero(t, tcptest.TCPInfo(t, conn).Probes, "the peer has answered")
				return
			}
			err := tcptest.Read(conn)
			tcptest.AssertWithin(t, since, 8*s, 9*s+500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT, "unasked")
		})
	}
}

// Another policy sends a probe at once if it arms the timer anew, and the peer
// has not been heard for Idle.
func TestApplyProbesAtOnce(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	const s = time.Second
	before := keepalive.Config{Idle: 5 * s, Interval: 15 * s, Count: 9}
	for _, tt := range []struct {
		policy keepalive.Config
		probes uint32
	}{
		{before, 0},
		{keepalive.Config{Idle: 5 * s, Interval: 15 * s, Count: 5}, 0},
		{keepalive.Config{Idle: 5 * s, Interval: 15 * s, Count: 9, UserTimeout: time.Hour}, 0},
		{keepalive.Config{Idle: s, Interval: 14 * s, Count: 9}, 1},
		{keepalive.Config{Idle: s, Interval: 15 * s, Count: 9}, 1},
		{keepalive.Config{Idle: time.Minute, Interval: 15 * s, Count: 9}, 0},
	} {
		t.Run(tt.policy.String(), func(t *testing.T) {
			t.Parallel()
			conn, peer := pairOf(t, before)
			netlab.MustSilence(t, peer)
			tcptest.Await(t, "silence", func() bool { return tcptest.TCPInfo(t, conn).Last_ack_recv >= 1500 })
			sent := tcptest.TCPInfo(t, conn).Segs_out
			require.NoError(t, tt.policy.Apply(conn))
			tcptest.Await(t, "the probe", func() bool { return tcptest.TCPInfo(t, conn).Segs_out >= sent+tt.probes })
			tcptest.AssertOpenUntil(t, conn, time.Now().Add(500*time.Millisecond))
			assert.Equal(t, sent+tt.probes, tcptest.TCPInfo(t, conn).Segs_out)
		})
	}
}

// While a probe is unanswered, no policy sends another one.
func TestApplyWithAProbeOutSendsNothing(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	const s = time.Second
	before := keepalive.Config{Idle: 2 * s, Interval: 15 * s, Count: 9}
	for _, policy := range []keepalive.Config{
		before,
		{Idle: 2 * s, Interval: 15 * s, Count: 5},
		{Idle: 2 * s, Interval: 14 * s, Count: 9},
		{Idle: s, Interval: 15 * s, Count: 9},
		{Idle: time.Minute, Interval: 15 * s, Count: 9},
		{Disable: true, Idle: 2 * s, Interval: 15 * s, Count: 9},
	} {
		t.Run(policy.String(), func(t *testing.T) {
			t.Parallel()
			conn, peer := pairOf(t, before)
			netlab.MustSilence(t, peer)
			tcptest.Await(t, "a probe", func() bool { return tcptest.TCPInfo(t, conn).Probes == 1 })
			sent := tcptest.TCPInfo(t, conn).Segs_out
			for range 3 {
				require.NoError(t, policy.Apply(conn))
			}
			tcptest.AssertOptions(t, policy, conn)
			tcptest.AssertOpenUntil(t, conn, time.Now().Add(500*time.Millisecond))
			assert.Equal(t, sent, tcptest.TCPInfo(t, conn).Segs_out)
		})
	}
}

// A dead peer is noticed in time by a program that applies its policy again and
// again, also if the kernel has rounded a value.
func TestApplyAgainPutsNothingOff(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	for _, maxRTO := range []time.Duration{0, 2001 * time.Millisecond} {
		t.Run(maxRTO.String(), func(t *testing.T) {
			t.Parallel()
			policy := keepalive.Config{Idle: 2 * time.Second, Interval: time.Second, Count: 2, MaxRTO: maxRTO}
			if maxRTO != 0 {
				tcptest.NeedMaxRTO(t)
			}
			conn, peer := pairOf(t, policy)
			since := tcptest.Silence(t, conn, peer)
			tcptest.Await(t, "the end", func() bool {
				require.NoError(t, policy.Apply(conn))
				return tcptest.TCPInfo(t, conn).State == unix.BPF_TCP_CLOSE
			})
			tcptest.AssertWithin(t, since, 4*time.Second, 4*time.Second*9/8+500*time.Millisecond)
		})
	}
}

// A timer that a simultaneous open has left alone is armed by an equal policy:
// at once, or after 9/8 × Interval where that is longer than Idle.
func TestApplyArmsATimerThatNeverRan(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	tcptest.NeedTCPInfo(t)
	const s = time.Second
	const wait = 2400 * time.Millisecond // 9/8 × 2 s, and what Apply adds
	for c, least := range map[keepalive.Config]time.Duration{
		tcptest.Quick:                        4 * s,
		{Idle: s, Interval: 2 * s, Count: 3}: wait + 6*s,
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			self := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5432}
			since := time.Now()
			conn, err := (&net.Dialer{LocalAddr: self, Timeout: time.Minute, KeepAlive: -1, Control: c.Control}).Dial("tcp4", self.String())
			require.NoError(t, err)
			defer conn.Close()
			dropAll(t, conn)
			require.NoError(t, c.Apply(conn))
			if c.Interval > c.Idle {
				tcptest.Await(t, "silence", func() bool { return tcptest.TCPInfo(t, conn).Last_ack_recv >= uint32(wait.Milliseconds()) })
				assert.Zero(t, tcptest.TCPInfo(t, conn).Probes)
				require.NoError(t, c.Apply(conn))
			}
			err = tcptest.Read(conn)
			tcptest.AssertWithin(t, since, least, least*9/8+500*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}
