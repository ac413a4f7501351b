//go:build !keepalive_portable

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBusyProcessorIsSeen(t *testing.T) {
	t.Parallel()
	take := func() sample {
		idle, processors, err := idleTime()
		require.NoError(t, err)
		require.Positive(t, processors)
		return sample{time.Now(), idle, processors, 0}
	}
	before := take()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
	}
	assert.Greater(t, take().since(before).busy, 300.0)
}

func TestProbesAreCounted(t *testing.T) {
	t.Parallel()
	w := open(t)
	var before, after Reply
	require.NoError(t, w.Probes(0, &before))
	require.NoError(t, w.Idle(2*time.Second, new(Reply)))
	require.NoError(t, w.Probes(0, &after))
	assert.GreaterOrEqual(t, after.N-before.N, 10)
}

func TestCost(t *testing.T) {
	t.Parallel()
	start := time.Now()
	first := sample{start, 0, 2, 7}
	second := sample{start.Add(10 * time.Second), 18500 * time.Millisecond, 2, 100_007}
	third := sample{start.Add(15 * time.Second), 28 * time.Second, 2, 100_007}
	c := &coordinator{on: second.since(first), off: third.since(second)}
	outcome, err := c.cost()
	assert.NoError(t, err)
	assert.Equal(t, "(150.0 ms - 100.0 ms) / 10000 probes = 5.00 µs of processor time for a probe and its answer, both ends together", outcome)
	c.off.busy = 150
	outcome, err = c.cost()
	assert.NoError(t, err)
	assert.Equal(t, "unknown: other programs used 150.0 ms of processor time a second", outcome)
	c.off.probes = 1
	_, err = c.cost()
	assert.EqualError(t, err, "the kernel counted 1.0 probes a second with keepalive off")
	c.on.probes = 0
	_, err = c.cost()
	assert.EqualError(t, err, "the kernel counted no probe with keepalive on")
}
