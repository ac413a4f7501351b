//go:build !keepalive_portable

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Whether the timer can't be armed with a policy that the socket holds.
func TestIsOverdue(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	quick := Config{Idle: s, Interval: s, Count: 3}
	slow := Config{Idle: s, Interval: 15 * s, Count: 3}
	long := Config{Idle: s, Interval: s, Count: 3, UserTimeout: time.Hour}
	for _, tt := range []struct {
		policy Config
		silent time.Duration
		want   bool
	}{
		{quick, s, true},
		{slow, 2 * s, false}, // an answered probe
		{slow, 16*s + 975*ms, false},
		{slow, 16*s + 976*ms, true},

		{long, 2 * s, true},
		{long, 256 * s, false}, // of 256
		{long, time.Hour, false},
	} {
		info := &unix.TCPInfo{
			Last_data_recv: uint32((tt.silent + s).Milliseconds()),
			Last_ack_recv:  uint32(tt.silent.Milliseconds()),
		}
		assert.Equal(t, tt.want, isOverdue(info, tt.policy), "%v, silent for %v", tt.policy, tt.silent)
	}
}

// Idle is written where the timer may have to be armed anew, and left out where that
// would send a probe for nothing.
func TestNeedsRearm(t *testing.T) {
	const s = time.Second
	held := Config{Idle: 10 * s, Interval: 5 * s, Count: 3}
	slow := Config{Idle: 10 * s, Interval: 15 * s, Count: 3}
	off := held
	off.Disable = true
	with := func(c Config, change func(*Config)) Config {
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		held, want Config
		silent     time.Duration
		rearm      bool
	}{
		"not silent for Idle":                     {held, held, 10*s - time.Millisecond, true},
		"nor with an Interval of the same":        {with(held, func(c *Config) { c.Interval = c.Idle }), with(held, func(c *Config) { c.Interval = c.Idle }), 9 * s, true},
		"an answered probe, longer Interval":      {slow, slow, 9 * s, false},
		"the same, silent for longer than both":   {slow, slow, 18 * s, true},
		"a count of probes that may have wrapped": {with(held, func(c *Config) { c.UserTimeout = time.Hour }), with(held, func(c *Config) { c.UserTimeout = time.Hour }), time.Hour, false},
		"turned off":          {held, off, time.Hour, true},
		"turned on":           {off, slow, 9 * s, true},
		"another Idle":        {slow, with(slow, func(c *Config) { c.Idle = 11 * s }), 9 * s, true},
		"another Interval":    {slow, with(slow, func(c *Config) { c.Interval = 14 * s }), 9 * s, true},
		"another Count":       {slow, with(slow, func(c *Config) { c.Count = 9 }), 9 * s, false},
		"another UserTimeout": {slow, with(slow, func(c *Config) { c.UserTimeout = 90 * s }), 9 * s, false},
	} {
		rearm, err := needsRearm(holding(t, tt.held), infoOf(tt.silent, unix.TCPInfo{}), tt.want)
		require.NoError(t, err, name)
		assert.Equal(t, tt.rearm, rearm, name)
	}
	_, err := needsRearm(closed, infoOf(9*s, unix.TCPInfo{}), slow)
	assert.ErrorIs(t, err, unix.EBADF)
}

// closed is no descriptor.
const closed = ^uintptr(0)

// A socket holds a policy if applying it would change nothing, though the kernel may
// have rounded a value up.
func TestHolds(t *testing.T) {
	fd := holding(t, full)
	for _, change := range []func(*Config){
		func(c *Config) { c.Disable = true },
		func(c *Config) { c.Idle += time.Second },
		func(c *Config) { c.Interval += time.Second },
		func(c *Config) { c.Count++ },
		func(c *Config) { c.UserTimeout -= time.Millisecond },
		func(c *Config) { c.UserTimeout = 0 },
		func(c *Config) { c.MaxRTO = 30 * time.Second },
	} {
		c := full
		change(&c)
		held, err := holds(fd, c)
		require.NoError(t, err)
		assert.False(t, held, "%v", c)
	}
	for _, c := range []Config{full, {Idle: full.Idle, Interval: full.Interval, Count: full.Count, UserTimeout: full.UserTimeout, MaxRTO: 2 * time.Minute}} {
		held, err := holds(fd, c)
		require.NoError(t, err)
		assert.True(t, held, "%v", c)
	}

	_, err := holds(closed, full)
	assert.ErrorIs(t, err, unix.EBADF)

	rounded := full
	rounded.MaxRTO = 2010 * time.Millisecond
	if rounded != Supported(rounded) {
		t.Skip("the kernel lacks TCP_RTO_MAX_MS")
	}
	require.NoError(t, SetConnected(fd, rounded))
	now, err := Get(fd)
	require.NoError(t, err)
	for asked, want := range map[time.Duration]bool{
		now.MaxRTO:                       true,
		now.MaxRTO - 10*time.Millisecond: true, // rounded up to a tick of HZ=100
		now.MaxRTO - 11*time.Millisecond: false,
		now.MaxRTO + time.Millisecond:    false,
		0:                                true, // no change
	} {
		c := full
		c.MaxRTO = asked
		held, err := holds(fd, c)
		require.NoError(t, err)
		assert.Equal(t, want, held, asked)
	}
}

// A restart sets whatever the socket does not hold, and leaves keepalive on. A
// refusal leaves it as it was.
func TestRestart(t *testing.T) {
	fd := holding(t, full)
	for _, c := range []Config{full, Supported(Config{Idle: time.Minute, Interval: time.Second, Count: 9, MaxRTO: 2 * time.Second})} {
		require.NoError(t, restart(fd, c))
		requireHeld(t, c, fd)
	}
	fd = holding(t, full)
	for _, c := range []Config{full, {Idle: time.Hour, Interval: 7 * time.Second, Count: 9}} {
		require.NoError(t, restart(fd, c))
		requireHeld(t, c, fd)
	}
	for _, c := range []Config{
		{Idle: 100000 * time.Second, Interval: 8 * time.Second, Count: 8},
		{Idle: time.Minute, Interval: time.Minute, Count: 200},
		{Idle: time.Minute, Interval: time.Minute, Count: 8, UserTimeout: -time.Second},
	} {
		assert.ErrorIs(t, restart(fd, c), unix.EINVAL, "%v", c)
		held, err := Get(fd)
		require.NoError(t, err)
		assert.False(t, held.Disable, "%v", c)
	}
	require.NoError(t, SetKeepAlive(fd, false))
	assert.ErrorIs(t, restart(fd, Config{Idle: time.Minute, Interval: time.Minute, Count: 8, UserTimeout: -time.Second}), unix.EINVAL)
	held, err := Get(fd)
	require.NoError(t, err)
	assert.True(t, held.Disable, "zero-window probes are out")
}
