//go:build !keepalive_portable

package pathidle_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A middlebox decides by the connection which segments pass.
type middlebox struct {
	mu     sync.Mutex
	limits func(connection int) time.Duration // after which an idle one is forgotten
	age    time.Duration                      // at which each is, or 0
	down   func(time.Duration) bool           // nothing passes, by the time since the first segment
	start  time.Time
	flows  map[uint16]*flow // by the port of the client
	opened int
}

type flow struct {
	limit        time.Duration
	opened, last time.Time
	forgotten    bool
}

func (m *middlebox) pass(p netlab.Packet) (time.Duration, bool) {
	const syn = 0x02
	ports, flags := p.Bytes[20:24], p.Bytes[33]
	port, now := binary.BigEndian.Uint16(ports), time.Now()
	if !p.FromClient {
		port = binary.BigEndian.Uint16(ports[2:])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start.IsZero() {
		m.start = now
	}
	if m.down != nil && m.down(now.Sub(m.start)) {
		return 0, false
	}
	f := m.flows[port]
	if p.FromClient && flags&syn != 0 {
		var limit time.Duration
		if f != nil { // the kernel has sent it again
			limit = f.limit
		} else {
			limit = m.limits(m.opened)
			m.opened++
		}
		f = &flow{limit: limit, opened: now, last: now}
		m.flows[port] = f
	}
	if f == nil {
		return 0, false
	}
	f.forgotten = f.forgotten || now.Sub(f.last) >= f.limit || m.age != 0 && now.Sub(f.opened) >= m.age
	f.last = now
	return time.Millisecond, !f.forgotten
}

func always(limit time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return limit }
}

// measureThrough measures a path through the middlebox.
func measureThrough(t *testing.T, m *middlebox, o pathidle.Options) pathidle.Result {
	t.Helper()
	m.flows = make(map[uint16]*flow)
	lab := netlab.NewLab(t, netlab.Rules{})
	wire := netlab.NewWire(t, lab, m.pass)
	ln := wire.Listen(t, plain())
	go accept(t, ln, discard)
	r, err := measure(t.Context(), t, lab, "tcp4", ln.Addr().String(), o)
	require.NoError(t, err)
	return r
}

// Connections that take one of two paths do not have the limit of one.
func TestMeasureTwoPaths(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	const short, long = 4 * time.Second, 20 * time.Second
	for name, isShort := range map[string]func(int) bool{
		"every second":    func(i int) bool { return i%2 == 0 },
		"every fourth":    func(i int) bool { return i%4 == 3 },
		"the last of all": func(i int) bool { return i == 7 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := measureThrough(t, &middlebox{limits: func(i int) time.Duration {
				if isShort(i) {
					return short
				}
				return long
			}}, pathidle.Options{Max: 10 * time.Second})
			assert.Equal(t, pathidle.Varies, r.Verdict)
			assert.Less(t, r.Survived, short)
			assert.Greater(t, r.Lost, short-50*time.Millisecond)
			if c, err := r.Plan(keepalive.Target{}); err == nil {
				assert.Less(t, c.Idle+c.Interval, short)
			}
		})
	}
}

// A path that ends connections at an age is not one that forgets.
func TestMeasureEndsByAge(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	const age = 4 * time.Second
	for _, n := range []int{8, 2} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := measureThrough(t, &middlebox{limits: always(time.Hour), age: age}, pathidle.Options{Connections: n})
			assert.Equal(t, pathidle.EndsByAge, r.Verdict)
			assert.GreaterOrEqual(t, r.After, age-time.Second/2) // the path has seen it earlier
			assert.Less(t, r.After, 2*age+time.Second)
			_, err := r.Plan(keepalive.Target{})
			assert.ErrorContains(t, err, "whatever the policy")
		})
	}
}

// An outage is not taken for a limit, whenever it begins and with any number of
// connections. In 1 to 3 of 150 cases (TestOutages), and more on a machine that
// stalls, it is unclear: then the measurement is repeated.
func TestMeasureDown(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for _, tt := range []struct {
		from, lasts time.Duration
		connections int
	}{
		{1500 * time.Millisecond, 9 * time.Second, 8},
		{2500 * time.Millisecond, 5 * time.Second, 8},
		{6 * time.Second, 8 * time.Second, 1},
		{6 * time.Second, 8 * time.Second, 3},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			t.Parallel()
			var r pathidle.Result
			for range 3 {
				r = measureThrough(t, &middlebox{limits: always(time.Hour), down: func(since time.Duration) bool {
					return tt.from <= since && since < tt.from+tt.lasts
				}}, pathidle.Options{Max: 10 * time.Second, Connections: tt.connections})
				if r.Verdict != pathidle.Varies {
					break
				}
			}
			assert.Equal(t, pathidle.NothingLost, r.Verdict)
			assert.Zero(t, r.Lost)
		})
	}
}
