package keepalive_test

import (
	"math"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (completeConfig) Generate(r *rand.Rand, _ int) reflect.Value {
	seconds := func() time.Duration {
		return time.Duration(1+r.Int63n(1<<(1+r.Intn(15))-1))*time.Second - time.Duration(r.Intn(2))
	}
	c := keepalive.Config{Idle: seconds(), Interval: seconds(), Count: 1 + r.Intn(127)}
	switch r.Intn(3) {
	case 0:
		c.UserTimeout = 1 + time.Duration(r.Int63n(math.MaxInt32*int64(time.Millisecond)))
	case 1:
		c.UserTimeout = 1 + time.Duration(r.Int63n(int64(c.Idle+c.Interval*5)))
	}
	return reflect.ValueOf(completeConfig{c})
}

func TestPlan(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		target keepalive.Target
		want   keepalive.Config
	}{
		{keepalive.Target{Detect: 4500 * time.Millisecond}, keepalive.Config{Idle: s, Interval: s, Count: 3}},
		{keepalive.Target{Detect: 20 * s}, keepalive.Config{Idle: 11 * s, Interval: 2 * s, Count: 3}},
		{keepalive.Target{Detect: 20 * s, Unacked: true}, keepalive.Config{Idle: 11 * s, Interval: 2 * s, Count: 3, UserTimeout: 17 * s}},
		{keepalive.Target{Detect: 90 * s}, keepalive.Config{Idle: 41 * s, Interval: 13 * s, Count: 3}},
		{keepalive.Target{IdleLimit: 2250*time.Millisecond + 1}, keepalive.Config{Idle: s, Interval: s, Count: 3}},
		{keepalive.Target{IdleLimit: 350 * s}, keepalive.Config{Idle: 234 * s, Interval: 77 * s, Count: 3}},
		{keepalive.Target{IdleLimit: 350 * s, Unacked: true}, keepalive.Config{Idle: 234 * s, Interval: 77 * s, Count: 3, UserTimeout: 465 * s}},
		{keepalive.Target{Detect: 60 * s, IdleLimit: 350 * s}, keepalive.Config{Idle: 29 * s, Interval: 8 * s, Count: 3}},
		{keepalive.Target{Detect: 600 * s, IdleLimit: 60 * s}, keepalive.Config{Idle: 40 * s, Interval: 13 * s, Count: 3}},
		{keepalive.Target{Detect: 17325 * time.Millisecond, Unacked: true, SlowReads: true}, keepalive.Config{Idle: 9 * s, Interval: 2 * s, Count: 3, MaxRTO: s}},
		{keepalive.Target{Detect: 60 * s, Unacked: true, SlowReads: true}, keepalive.Config{Idle: 29 * s, Interval: 8 * s, Count: 3, MaxRTO: 3 * s}},
		{keepalive.Target{Detect: 60 * s, IdleLimit: 20 * s, Unacked: true, SlowReads: true}, keepalive.Config{Idle: 13 * s, Interval: 4 * s, Count: 3, MaxRTO: 3 * s}},
		{keepalive.Target{IdleLimit: 350 * s, Unacked: true, SlowReads: true}, keepalive.Config{Idle: 234 * s, Interval: 77 * s, Count: 3, MaxRTO: 46 * s}},
		{keepalive.Target{IdleLimit: 5 * s, Unacked: true, SlowReads: true}, keepalive.Config{Idle: 3 * s, Interval: s, Count: 3, MaxRTO: s}},
		{keepalive.Target{Detect: time.Hour, Unacked: true, SlowReads: true}, keepalive.Config{Idle: 1601 * s, Interval: 533 * s, Count: 3, MaxRTO: 120 * s}},
		{keepalive.Target{Detect: math.MaxInt64}, keepalive.Config{Idle: 32767 * s, Interval: 10922 * s, Count: 3}},
		{keepalive.Target{Detect: math.MaxInt64, IdleLimit: math.MaxInt64, Unacked: true}, keepalive.Config{Idle: 32767 * s, Interval: 10922 * s, Count: 3, UserTimeout: 65533 * s}},
	} {
		c, err := keepalive.Plan(tt.target)
		require.NoError(t, err)
		assert.Equal(t, tt.want, c, "%+v", tt.target)
	}
}

func TestPlanErrors(t *testing.T) {
	for _, tt := range []struct {
		target keepalive.Target
		says   string
	}{
		{keepalive.Target{}, "Target demands nothing, want Detect, IdleLimit or both"},
		{keepalive.Target{Unacked: true}, "Target demands nothing, want Detect, IdleLimit or both"},
		{keepalive.Target{Detect: 4500*time.Millisecond - 1}, "Detect is 4.499999999s, want 4.5s or more, or 0 for no demand"},
		{keepalive.Target{Detect: -time.Second, IdleLimit: time.Hour}, "Detect is -1s, want 4.5s or more, or 0 for no demand"},
		{keepalive.Target{IdleLimit: 2250 * time.Millisecond}, "IdleLimit is 2.25s, want more than 2.25s, or 0 for none"},
		{keepalive.Target{Detect: time.Hour, SlowReads: true}, "SlowReads without Unacked, want both or neither"},
		{keepalive.Target{Detect: 17325*time.Millisecond - 1, Unacked: true, SlowReads: true}, "Detect is 17.324999999s, want 17.325s or more with SlowReads, or 0 for no demand"},
		{keepalive.Target{Detect: time.Hour, IdleLimit: math.MinInt64}, "IdleLimit is -2562047h47m16.854775808s, want more than 2.25s, or 0 for none"},
	} {
		c, err := keepalive.Plan(tt.target)
		assert.EqualError(t, err, "keepalive: "+tt.says)
		assert.Zero(t, c)
	}
}

// meets says what Plan promises of c, in the words of its documentation.
func meets(c keepalive.Config, target keepalive.Target) bool {
	if c.Count < 3 || c.Idle <= 0 || c.Idle%time.Second != 0 || c.Interval <= 0 || c.Interval%time.Second != 0 {
		return false
	}
	if c.Idle < 3*c.Interval && c.Interval != time.Second {
		return false
	}
	late := func(d time.Duration) time.Duration { return d / 8 * 9 } // exact, as d is in whole seconds
	if target.IdleLimit != 0 && late(c.Idle+c.Interval) >= target.IdleLimit {
		return false
	}
	d, ok := c.DetectionTime()
	return ok && (target.Detect == 0 || late(d) <= target.Detect) && unackedFits(c, target) && c.Validate() == nil
}

// unackedFits says what Plan promises of data in flight.
func unackedFits(c keepalive.Config, target keepalive.Target) bool {
	if !target.SlowReads {
		return c.MaxRTO == 0 && userTimeoutFits(c, target)
	}
	limit, _ := c.DetectionTime()
	if target.Detect != 0 {
		limit = target.Detect/9*8 + target.Detect%9*8/9
	}
	fits := func(maxRTO time.Duration) bool { return unackedAtMost(maxRTO) <= limit }
	return c.UserTimeout == 0 && c.MaxRTO%time.Second == 0 &&
		(fits(c.MaxRTO) || target.Detect == 0 && c.MaxRTO == time.Second) &&
		(!fits(c.MaxRTO+time.Second) || c.MaxRTO == 120*time.Second)
}

// unackedAtMost adds up 15 retransmissions of which each comes twice as late as
// the one before, maxRTO at most, and one more.
func unackedAtMost(maxRTO time.Duration) (sum time.Duration) {
	for i, wait := 0, 200*time.Millisecond; i <= 15; i++ {
		sum += wait
		wait = min(2*wait, maxRTO)
	}
	return sum + maxRTO
}

// userTimeoutFits: the timer runs at Idle + k×Interval; it sends a probe each
// time but the last, k = Count, when it gives the peer up. UserTimeout comes
// after the last but one, so that all the probes go out, and not after the last.
func userTimeoutFits(c keepalive.Config, target keepalive.Target) bool {
	if !target.Unacked {
		return c.UserTimeout == 0
	}
	last := c.Idle + time.Duration(c.Count)*c.Interval
	return c.UserTimeout > last-c.Interval && c.UserTimeout <= last
}

// wholeSeconds is what Plan could return.
func wholeSeconds(idle, interval int, target keepalive.Target) keepalive.Config {
	c := keepalive.Config{Idle: time.Duration(idle) * time.Second, Interval: time.Duration(interval) * time.Second, Count: 3}
	if target.SlowReads {
		limit := c.Idle + 3*c.Interval
		if target.Detect != 0 {
			limit = target.Detect/9*8 + target.Detect%9*8/9
		}
		for c.MaxRTO = time.Second; c.MaxRTO < 120*time.Second && unackedAtMost(c.MaxRTO+time.Second) <= limit; c.MaxRTO += time.Second {
		}
	} else if target.Unacked {
		c.UserTimeout = c.Idle + 3*c.Interval
	}
	return c
}

// Nothing that Plan could return instead is better, of all there is.
func TestPlanIsTheBest(t *testing.T) {
	// best has the longest Interval, and then the longest Idle.
	best := func(target keepalive.Target, most int) keepalive.Config {
		for interval := most; interval > 0; interval-- {
			for idle := most; idle > 0; idle-- {
				if c := wholeSeconds(idle, interval, target); meets(c, target) {
					return c
				}
			}
		}
		return keepalive.Config{}
	}
	for detect := time.Duration(0); detect < 80*time.Second; detect += 1125 * time.Millisecond {
		for limit := time.Duration(0); limit < 40*time.Second; limit += 2250 * time.Millisecond {
			target := keepalive.Target{Detect: detect, IdleLimit: limit, Unacked: limit%(4500*time.Millisecond) == 0}
			if detect == 0 && limit == 0 {
				continue
			}
			c, err := keepalive.Plan(target)
			want := best(target, 80)
			require.Equal(t, want, c, "%+v", target)
			require.Equal(t, want == keepalive.Config{}, err != nil, "%+v", target)
		}
	}
}

// Every Target either gets a policy that keeps the promises, or can have none.
func FuzzPlan(f *testing.F) {
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, 2250 * time.Millisecond, 4500 * time.Millisecond, 20 * time.Second,
		350 * time.Second, 10 * time.Hour, 50 * time.Hour, 90 * time.Hour, math.MaxInt64} {
		for _, limit := range []time.Duration{0, d + 1, d/2 + time.Second, 10 * time.Hour} {
			f.Add(int64(d), int64(limit), limit&1 == 0, limit&2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, detect, limit int64, unacked, slowReads bool) {
		checkPlan(t, keepalive.Target{Detect: time.Duration(detect), IdleLimit: time.Duration(limit), Unacked: unacked, SlowReads: unacked && slowReads})
	})
}

func TestPlanKeepsItsPromises(t *testing.T) {
	require.NoError(t, quick.Check(func(detect, limit uint32, coarse, unacked, slowReads bool) bool {
		unit := time.Millisecond
		if coarse {
			unit = time.Second
		}
		return checkPlan(t, keepalive.Target{Detect: time.Duration(detect) * unit, IdleLimit: time.Duration(limit) * unit, Unacked: unacked, SlowReads: unacked && slowReads})
	}, &quick.Config{MaxCount: 5000}))
}

func checkPlan(t *testing.T, target keepalive.Target) bool {
	t.Helper()
	c, err := keepalive.Plan(target)
	if err != nil {
		return assert.Zero(t, c) &&
			assert.True(t, target.Detect == 0 && target.IdleLimit == 0 || !meets(wholeSeconds(1, 1, target), target), "%+v: %v", target, err)
	}
	idle, interval := int(c.Idle/time.Second), int(c.Interval/time.Second)
	return assert.True(t, meets(c, target), "%+v: %+v", target, c) &&
		assert.False(t, meets(wholeSeconds(idle+1, interval, target), target), "%+v: %+v, but Idle could be longer", target, c) &&
		assert.False(t, meets(wholeSeconds(3*(interval+1), interval+1, target), target), "%+v: %+v, but Interval could be longer", target, c)
}

// A single timer of the wheel can be 8/63 late, which is more than 1/8. What
// Plan counts on is sums of them, which can't, however long a tick is.
func TestPlanAllowsForTheTimerWheel(t *testing.T) {
	for _, hz := range []int64{100, 250, 300, 1000} {
		fires := func(d time.Duration) time.Duration { // the latest
			ticks, level := int64(d/time.Second)*hz, 0
			for ticks >= 63<<(3*level) {
				level++
			}
			return d + time.Duration(1<<(3*level)+1)*time.Second/time.Duration(hz)
		}
		for detect := 4500 * time.Millisecond; detect < 80*time.Hour; detect += detect/100 + 100*time.Millisecond {
			c, err := keepalive.Plan(keepalive.Target{Detect: detect})
			require.NoError(t, err)
			assert.LessOrEqual(t, fires(c.Idle)+3*fires(c.Interval), detect, "%+v, HZ=%d", c, hz)
			limit := detect / 2
			if c, err = keepalive.Plan(keepalive.Target{IdleLimit: limit}); limit > 2250*time.Millisecond {
				require.NoError(t, err)
				assert.Less(t, fires(c.Idle)+fires(c.Interval), limit, "%+v, HZ=%d", c, hz)
			}
		}
	}
}
