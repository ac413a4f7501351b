package keepalive_test

import (
	"math"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A sysctl of zero is a time that the kernel takes at its word.
func TestDetectionTimeOfZeros(t *testing.T) {
	t.Parallel()
	if tcptest.Portable {
		t.Skip("package net: this build knows no kernel")
	}
	netlab.NewNamespace(t)
	const s = time.Second
	netlab.Sysctl(t, "tcp_keepalive_time", "0")
	netlab.Sysctl(t, "tcp_keepalive_intvl", "0")
	for c, want := range map[keepalive.Config]time.Duration{
		{Interval: s, Count: 3}:                  3 * s,
		{Idle: s, Count: 3}:                      s,
		{Idle: s, Count: 3, UserTimeout: 10 * s}: 10 * s,
		{Count: 3}:                               0,
	} {
		d, ok := c.DetectionTime()
		assert.True(t, ok, "%v", c)
		assert.Equal(t, want, d, "%v", c)
	}
}

func TestUnackedTime(t *testing.T) {
	t.Parallel()
	if tcptest.Portable {
		t.Skip("package net: this build knows no kernel")
	}
	netlab.NewNamespace(t)
	const s, ms = time.Second, time.Millisecond
	assertUnacked := func(c keepalive.Config, want time.Duration) {
		t.Helper()
		d, ok := c.UnackedTime()
		assert.Equal(t, want, d, "%v", c)
		assert.True(t, ok, "%v", c)
	}
	assertUnacked(keepalive.Config{}, 924600*ms) // tcp(7)
	assertUnacked(keepalive.Config{Disable: true, Idle: s}, 924600*ms)
	assertUnacked(keepalive.Config{UserTimeout: 75*s + 1}, 75001*ms)
	assertUnacked(keepalive.Config{MaxRTO: s}, 14400*ms)
	assertUnacked(keepalive.Config{MaxRTO: 2 * s}, 27*s)
	assertUnacked(keepalive.Config{MaxRTO: 120 * s}, 924600*ms)
	assertUnacked(keepalive.Config{MaxRTO: 2 * s, UserTimeout: 10 * s}, 10*s)
	for _, c := range []keepalive.Config{{MaxRTO: -1}, {MaxRTO: math.MaxInt64}, {UserTimeout: -s}, {UserTimeout: math.MaxInt64}, {UserTimeout: s, MaxRTO: ms}} {
		d, ok := c.UnackedTime()
		assert.Zero(t, d)
		assert.False(t, ok, "%v, which no socket accepts", c)
	}
	assertUnacked(keepalive.Config{Idle: -1, MaxRTO: s}, 14400*ms)
	if (keepalive.Config{MaxRTO: s}).Supported().MaxRTO != 0 {
		netlab.Sysctl(t, "tcp_rto_max_ms", "1000")
		assertUnacked(keepalive.Config{}, 14400*ms)
		netlab.Sysctl(t, "tcp_rto_max_ms", "120000")
	}
	netlab.Sysctl(t, "tcp_retries2", "0")
	assertUnacked(keepalive.Config{}, 200*ms)
	netlab.Sysctl(t, "tcp_retries2", "255")
	assertUnacked(keepalive.Config{}, 204600*ms+246*120*s)

	netlab.Sysctl(t, "tcp_retries2", "3")
	c, err := keepalive.Plan(keepalive.Target{Detect: 60 * s, Unacked: true, SlowReads: true})
	require.NoError(t, err)
	assert.Equal(t, 3*s, c.MaxRTO, "as with 15 retransmissions")
	netlab.Sysctl(t, "tcp_retries2", "255")

	// Plan counts with more retransmissions than 15 where there are more.
	c, err = keepalive.Plan(keepalive.Target{Detect: 10 * time.Minute, Unacked: true, SlowReads: true})
	require.NoError(t, err)
	assert.Equal(t, 2*s, c.MaxRTO)
}
