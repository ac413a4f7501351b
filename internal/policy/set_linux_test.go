//go:build !keepalive_portable

package policy

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// full sets every option that all kernels have.
var full = Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 90 * time.Second}

// holding returns a connection that holds c.
func holding(t *testing.T, c Config) (fd uintptr) {
	t.Helper()
	fd = pair(t)
	require.NoError(t, SetConnected(fd, c))
	requireHeld(t, c, fd)
	return fd
}

func requireHeld(t *testing.T, want Config, fd uintptr) {
	t.Helper()
	c, err := Get(fd)
	require.NoError(t, err)
	require.Equal(t, want, c)
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// Each option is changed by itself, and turned off, while keepalive is on.
func TestSetDifference(t *testing.T) {
	for _, want := range []Config{
		full,
		{Idle: time.Hour, Interval: full.Interval, Count: full.Count, UserTimeout: full.UserTimeout},
		{Idle: full.Idle, Interval: time.Hour, Count: full.Count, UserTimeout: full.UserTimeout},
		{Idle: full.Idle, Interval: full.Interval, Count: 9, UserTimeout: full.UserTimeout},
		{Idle: full.Idle, Interval: full.Interval, Count: full.Count},
		{Disable: true, Idle: full.Idle, Interval: full.Interval, Count: full.Count, UserTimeout: full.UserTimeout},
	} {
		fd := holding(t, full)
		require.NoError(t, SetDifference(fd, full, want))
		requireHeld(t, want, fd)
	}
	withMaxRTO := full
	withMaxRTO.MaxRTO = 2 * time.Second
	if withMaxRTO == Supported(withMaxRTO) {
		fd := holding(t, full)
		require.NoError(t, SetDifference(fd, full, withMaxRTO))
		requireHeld(t, withMaxRTO, fd)
	}
	off := full
	off.Disable = true
	fd := holding(t, off)
	require.NoError(t, SetDifference(fd, off, full))
	requireHeld(t, full, fd)

	// What the socket holds already is not written: no socket accepts it.
	odd := Config{Idle: 100000 * time.Second, Interval: full.Interval, Count: 4, UserTimeout: full.UserTimeout}
	heldOdd := odd
	heldOdd.Count = full.Count
	require.NoError(t, SetDifference(fd, heldOdd, odd))
	want := full
	want.Count = 4
	requireHeld(t, want, fd)
	assert.ErrorIs(t, SetDifference(fd, full, odd), unix.EINVAL)
}

func TestIsComplete(t *testing.T) {
	assert.True(t, full.IsComplete())
	assert.True(t, Config{Disable: true, Idle: 1, Interval: 1, Count: 1}.IsComplete())
	for _, change := range []func(*Config){
		func(c *Config) { c.Idle = 0 },
		func(c *Config) { c.Interval = 0 },
		func(c *Config) { c.Count = 0 },
		func(c *Config) { c.Idle = 100000 * time.Second },
		func(c *Config) { c.Count = 128 },
		func(c *Config) { c.UserTimeout = -1 },
	} {
		c := full
		change(&c)
		assert.False(t, c.IsComplete(), "%v", c)
	}
}

// A new socket has the policy of the sysctls. Get leaves out the options that nobody
// has set.
func TestOfNewSocket(t *testing.T) {
	before := descriptors(t)
	c, err := OfNewSocket()
	require.NoError(t, err)
	assert.Equal(t, before, descriptors(t))
	assert.Equal(t, SystemDefaults().Idle, c.Idle)
	assert.Positive(t, c.Count)
	assert.False(t, c.Disable)
	assert.Equal(t, c, c.AsRead())
	c.MaxRTO = 2 * time.Minute
	assert.Zero(t, c.AsRead().MaxRTO, "what a new socket holds")
	c.MaxRTO--
	assert.Equal(t, c, c.AsRead())

	maxRTO := &Options[len(Options)-1]
	assert.Equal(t, int64(2*time.Minute), maxRTO.Held(Config{}))
	assert.Equal(t, int64(time.Second), maxRTO.Held(Config{MaxRTO: time.Second}))
}
