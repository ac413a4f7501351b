package keepalive_test

import (
	"math"
	"math/rand"
	"reflect"
	"testing"
	check "testing/quick"
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

// settledConfig is a valid Config that has nothing from the system, and often
// a UserTimeout near its probes.
type settledConfig struct{ keepalive.Config }

func (settledConfig) Generate(r *rand.Rand, _ int) reflect.Value {
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
	return reflect.ValueOf(settledConfig{c})
}

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
	require.NoError(t, check.Check(func(c settledConfig) bool {
		d, ok := c.DetectionTime()
		return c.Validate() == nil && ok && d == lifetime(c.Config)
	}, &check.Config{MaxCount: 2000}))
}

// More of anything takes longer, except that with a UserTimeout Count counts for
// nothing, and Idle and Interval only move the probe at which the end comes.
func TestDetectionTimeIsMonotone(t *testing.T) {
	detection := func(c keepalive.Config) time.Duration {
		d, ok := c.DetectionTime()
		require.True(t, ok)
		return d
	}
	require.NoError(t, check.Check(func(c settledConfig, more uint16) bool {
		d := detection(c.Config)
		longer := []keepalive.Config{c.Config, c.Config, c.Config}
		longer[0].Idle += time.Second
		longer[1].Interval += time.Second
		longer[2].Count++
		if c.UserTimeout == 0 {
			return detection(longer[0]) > d && detection(longer[1]) > d && detection(longer[2]) > d
		}
		least := max(c.UserTimeout, c.Idle+c.Interval)
		later := c.Config
		later.UserTimeout += time.Duration(more) * time.Millisecond
		return detection(longer[2]) == d && detection(later) >= d &&
			d >= least && d < max(c.UserTimeout, c.Idle+c.Interval)+c.Interval+3*time.Second
	}, &check.Config{MaxCount: 2000}))
}
