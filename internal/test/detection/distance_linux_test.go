//go:build !keepalive_portable

package detection

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// distant is a connection whose ends are a round trip apart.
type distant struct {
	conn, peer net.Conn
	probes     atomic.Int32 // that conn has sent
	cut        atomic.Bool  // drops everything
}

func dialDistant(t *testing.T, roundTrip time.Duration, c keepalive.Config) *distant {
	t.Helper()
	d := new(distant)
	var established atomic.Bool
	w := netlab.NewWire(t, netlab.NewLab(t, netlab.Rules{}), func(p netlab.Packet) (time.Duration, bool) {
		if p.FromClient && p.Payload == 0 && established.Load() {
			d.probes.Add(1)
		}
		return roundTrip / 2, !d.cut.Load()
	})
	ln := w.Listen(t, &keepalive.ListenConfig{Config: keepalive.Config{Disable: true}})
	d.conn = w.Dial(t, (&keepalive.Dialer{Config: c}).DialContext, ln)
	d.peer = tcptest.Accept(t, ln)
	tcptest.Exchange(t, d.conn, d.peer)
	tcptest.AwaitAcked(t, d.conn, d.peer)
	established.Store(true)
	return d
}

// awaitSilence waits until nothing has been heard for a time.
func (d *distant) awaitSilence(t *testing.T, long time.Duration) {
	t.Helper()
	tcptest.Await(t, "silence", func() bool {
		s, err := keepalive.Stat(d.conn)
		require.NoError(t, err)
		return s.SinceHeard() >= long
	})
}

// assertOpen asserts that the peer is not given up for a while.
func (d *distant) assertOpen(t *testing.T, long time.Duration) {
	t.Helper()
	d.conn.SetReadDeadline(time.Now().Add(long))
	_, err := d.conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// Calls of Apply within a round trip of each other, on a connection that is
// overdue, give no live peer up: each answer takes longer than the next call.
//
// This process carries the answers. It may stall for over a second, in which the
// kernel's timers go on: Idle after a call that arms anew, and Interval after a
// probe, outlast that and a round trip.
func TestApplyFromADistance(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	netlab.NeedLab(t)
	const s, ms = time.Second, time.Millisecond
	once := keepalive.Config{Idle: 4 * s, Interval: 3 * s, Count: 1}
	usual := keepalive.Config{Idle: 4 * s, Interval: 3 * s, Count: 3}
	bounded := keepalive.Config{Idle: 4 * s, Interval: 3 * s, Count: 3, UserTimeout: 5500 * ms}
	for _, tt := range []struct {
		name      string
		policies  []keepalive.Config // in turn
		roundTrip time.Duration
	}{
		{"equal", []keepalive.Config{usual}, 300 * ms},
		{"equal with UserTimeout", []keepalive.Config{bounded}, 300 * ms},
		{"equal with Count 1", []keepalive.Config{once}, 900 * ms},
		{"two policies", []keepalive.Config{usual, {Idle: 5 * s, Interval: 3 * s, Count: 2}}, 300 * ms},
		{"two policies with UserTimeout", []keepalive.Config{bounded, {Idle: 3 * s, Interval: 3 * s, Count: 3, UserTimeout: 4 * s}}, 900 * ms},
		{"two policies, far", []keepalive.Config{usual, {Idle: 2 * s, Interval: 3 * s, Count: 2}}, 2500 * ms}, // longer than Idle
		{"on and off", []keepalive.Config{usual, {Disable: true, Idle: s}}, 300 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := dialDistant(t, tt.roundTrip, keepalive.Config{Disable: true})
			d.awaitSilence(t, 6*s)
			for i := range 8 {
				require.NoError(t, tt.policies[i%len(tt.policies)].Apply(d.conn))
				<-time.After(50 * ms) // less than a round trip
			}
			assert.LessOrEqual(t, d.probes.Load(), int32(1))
			d.assertOpen(t, tt.roundTrip+5*s)
		})
	}
}

// Two callers that change the policy again and again give no live peer up.
func TestApplyFromADistanceByTwo(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	netlab.NeedLab(t)
	d := dialDistant(t, 300*time.Millisecond, keepalive.Config{Disable: true})
	d.awaitSilence(t, 6*time.Second)
	end := time.Now().Add(3 * time.Second)
	failed := make(chan error, 2)
	for i := range 2 {
		go func() {
			policy := keepalive.Config{Idle: time.Duration(3+i) * time.Second, Interval: 3 * time.Second, Count: 3, UserTimeout: 5 * time.Second}
			for time.Now().Before(end) {
				if err := policy.Apply(d.conn); err != nil {
					failed <- err
					return
				}
				<-time.After(time.Duration(7+6*i) * time.Millisecond)
			}
			failed <- nil
		}()
	}
	assert.NoError(t, <-failed)
	assert.NoError(t, <-failed)
	d.assertOpen(t, 5*time.Second)
}

// A peer that dies while the policy changes again and again, with a probe out, is
// noticed within the DetectionTime of the last policy.
func TestDeadPeerIsNoticedFromADistance(t *testing.T) {
	t.Parallel()
	tcptest.NeedTCPInfo(t)
	netlab.NeedLab(t)
	for _, roundTrip := range []time.Duration{100 * time.Millisecond, 2 * time.Second} {
		t.Run(fmt.Sprint(roundTrip), func(t *testing.T) {
			t.Parallel()
			d := dialDistant(t, roundTrip, keepalive.Config{Idle: time.Second, Interval: 15 * time.Second, Count: 9})
			d.cut.Store(true)
			tcptest.Await(t, "a probe", func() bool { return tcptest.TCPInfo(t, d.conn).Probes == 1 })
			var last keepalive.Config
			for i := range 8 {
				last = keepalive.Config{Idle: 2 * time.Second, Interval: time.Second, Count: 4 - i%2}
				require.NoError(t, last.Apply(d.conn))
				<-time.After(50 * time.Millisecond)
			}
			applied := time.Now()
			noticed, _ := last.DetectionTime()
			d.conn.SetReadDeadline(applied.Add(20 * time.Second))
			_, err := d.conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			tcptest.AssertWithin(t, applied, 0, latest(noticed)+500*time.Millisecond)
		})
	}
}
