package keepalive_test

import (
	"math"
	"testing"
	"testing/quick"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDetectionTime(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		config keepalive.Config
		want   time.Duration
	}{
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: 3}, 75 * s},
		{keepalive.Config{Idle: 1, Interval: s + 1, Count: 2}, 5 * s},
		{keepalive.Config{Idle: 32767 * s, Interval: 32767 * s, Count: 127}, 128 * 32767 * s},
		// With a UserTimeout, whatever Count says.
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: 3, UserTimeout: 1}, 65 * s},
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: 3, UserTimeout: 60 * s}, 65 * s},
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: 3, UserTimeout: 65 * s}, 65 * s},
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: 3, UserTimeout: 65*s + 1}, 70 * s},
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: 3, UserTimeout: 102 * s}, 105 * s},
		{keepalive.Config{Idle: s, Interval: s, Count: 1, UserTimeout: math.MaxInt32 * time.Millisecond}, 2147484 * s},
		{keepalive.Config{Idle: s, Interval: 32767 * s, Count: 1, UserTimeout: math.MaxInt32 * time.Millisecond}, (1 + 66*32767) * s},
	} {
		d, ok := tt.config.DetectionTime()
		assert.Equal(t, tt.want, d, "%+v", tt.config)
		assert.True(t, ok)
		tt.config.Disable = true
		d, ok = tt.config.DetectionTime()
		assert.Zero(t, d)
		assert.False(t, ok)
	}
}

// A sysctl can hold what no Config may set, and Get and SystemDefaults return it.
func TestDetectionTimeOfAnInvalidConfig(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		config keepalive.Config
		want   time.Duration
	}{
		{keepalive.Config{Idle: 100000 * s, Interval: 75 * s, Count: 9}, 100675 * s},
		{keepalive.Config{Idle: 60 * s, Interval: 100000 * s, Count: 200}, 20000060 * s},
		{keepalive.Config{Idle: 60 * s, Interval: 5 * s, Count: -1}, 60 * s},
		{keepalive.Config{Idle: 60 * s, Interval: -1, Count: -1}, 60 * s}, // no probe follows
		{keepalive.Config{Idle: math.MaxInt64/s*s - 3*s, Interval: s, Count: 3}, math.MaxInt64 / s * s},
		{keepalive.Config{Idle: math.MaxInt64/s*s - 3*s, Interval: s, Count: 4}, math.MaxInt64},
		{keepalive.Config{Idle: math.MaxInt64, Interval: math.MaxInt64, Count: math.MaxInt}, math.MaxInt64},
		{keepalive.Config{Idle: math.MaxInt64, Interval: s, Count: 1, UserTimeout: math.MaxInt64}, math.MaxInt64},
	} {
		d, ok := tt.config.DetectionTime()
		assert.Equal(t, tt.want, d, "%+v", tt.config)
		assert.True(t, ok, "%+v", tt.config)
	}
	for _, c := range []keepalive.Config{
		{Idle: -1, Interval: s, Count: 1},
		{Idle: s, Interval: math.MinInt64, Count: 1},
		{Idle: s, Interval: -1, Count: 1, UserTimeout: 10 * s},
	} {
		d, ok := c.DetectionTime()
		assert.Zero(t, d, "%+v", c)
		assert.False(t, ok, "%+v", c)
	}
}

// A completeConfig is a valid Config that leaves nothing to the system, often with
// a UserTimeout near its probes.
type completeConfig struct{ keepalive.Config }

// lifetime goes through what tcp_keepalive_timer does while nothing comes back.
func lifetime(c keepalive.Config) time.Duration {
	roundUp := func(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }
	elapsed := roundUp(c.Idle)
	for probesOut := 0; ; probesOut++ {
		if c.UserTimeout != 0 && elapsed >= c.UserTimeout && probesOut > 0 ||
			c.UserTimeout == 0 && probesOut >= c.Count {
			return elapsed
		}
		elapsed += roundUp(c.Interval)
	}
}

func TestDetectionTimeFollowsTheTimer(t *testing.T) {
	require.NoError(t, quick.Check(func(c completeConfig) bool {
		d, ok := c.DetectionTime()
		return c.Validate() == nil && ok && d == lifetime(c.Config)
	}, &quick.Config{MaxCount: 2000}))
}

// More of anything takes longer, except that with a UserTimeout Count counts for
// nothing, and Idle and Interval only move the probe at which the end comes.
func TestDetectionTimeIsMonotone(t *testing.T) {
	require.NoError(t, quick.Check(func(c completeConfig, more uint16) bool {
		d, _ := c.DetectionTime()
		// by is how much longer it takes with a change, or 1 where that is invalid.
		by := func(change func(*keepalive.Config)) time.Duration {
			changed := c.Config
			change(&changed)
			longer, ok := changed.DetectionTime()
			if !ok {
				return 1
			}
			return longer - d
		}
		count := by(func(c *keepalive.Config) { c.Count++ })
		if c.UserTimeout == 0 {
			return count > 0 && by(func(c *keepalive.Config) { c.Idle += time.Second }) > 0 &&
				by(func(c *keepalive.Config) { c.Interval += time.Second }) > 0
		}
		least := max(c.UserTimeout, c.Idle+c.Interval)
		return (count == 0 || c.Count == 127) && d >= least && d < least+c.Interval+3*time.Second &&
			by(func(c *keepalive.Config) { c.UserTimeout += time.Duration(more) * time.Millisecond }) >= 0
	}, &quick.Config{MaxCount: 2000}))
}
