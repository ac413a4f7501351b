package main

import (
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// open returns a worker with n connections.
func open(t *testing.T, n int) *Worker {
	t.Helper()
	o := options{connections: n, policy: keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1}}
	w := newWorker(t.Context(), o)
	w.patience = 2 * time.Second
	w.crowd = newCrowd(Task{On: true, Connections: n}, w.policy)
	t.Cleanup(w.crowd.close)
	require.NoError(t, w.ramp())
	return w
}

func (w *Worker) silencePeer(t *testing.T, i int) {
	t.Helper()
	_, peer := w.crowd.ends(&w.crowd.links[i])
	netlab.MustSilence(t, peer)
}

func TestWorker(t *testing.T) {
	t.Parallel()
	mayFallSilent(t)
	w := open(t, 20)
	var used time.Duration
	require.NoError(t, w.Idle(time.Second, &used))
	var answer Noticed
	require.NoError(t, w.Silence(7, &answer))
	assert.Len(t, answer.SinceHeard, 7)
	assert.Zero(t, answer.Others)
	var n int
	require.NoError(t, w.Echo(0, &n))
	assert.Equal(t, 13, n)
	n = 0
	require.NoError(t, w.Close(0, &n))
	assert.Equal(t, 13, n)
}

// What befalls these workers has to be found, or the command proves nothing.

func TestLossIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, 10)
	require.NoError(t, w.crowd.links[3].accepted.CloseWrite())
	var used time.Duration
	assert.EqualError(t, w.Idle(time.Second, &used),
		"connections lost while they were idle: 1, first the dialed end of connection 3: EOF")
}

func TestDeadPeerIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, 10)
	w.silencePeer(t, 3)
	var used time.Duration
	err := w.Idle(3*time.Second, &used)
	assert.ErrorContains(t, err, "connections lost while they were idle: 1,")
	assert.ErrorContains(t, err, "connection timed out")
}

func TestAnotherLossBesideSilenceIsFound(t *testing.T) {
	t.Parallel()
	mayFallSilent(t)
	w := open(t, 10)
	var answer Noticed
	require.NoError(t, w.fallSilent(3, &answer))
	other := w.rest()[0]
	require.NoError(t, other.accepted.CloseWrite())
	require.NoError(t, w.notice(&answer))
	assert.Len(t, answer.SinceHeard, 3)
	assert.Equal(t, 1, answer.Others)
	assert.Contains(t, answer.First, ", first the dialed end of connection")
}

func TestPeerThatIsNotSilentIsFound(t *testing.T) {
	t.Parallel()
	mayFallSilent(t)
	w := open(t, 10)
	var answer Noticed
	require.NoError(t, w.fallSilent(3, &answer))
	for i := range w.fallen {
		_, peer := w.crowd.ends(&w.crowd.links[i])
		require.NoError(t, netlab.Wake(peer))
		break
	}
	require.NoError(t, w.notice(&answer))
	assert.Len(t, answer.SinceHeard, 2)
	assert.Zero(t, answer.Others)
}

func TestLostMessageIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, 10)
	w.silencePeer(t, 3)
	var n int
	require.NoError(t, w.Echo(0, &n))
	assert.Equal(t, 9, n)
}

func TestDoubledMessageIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, 10)
	var n int
	require.NoError(t, w.Echo(0, &n))
	require.Equal(t, 10, n)
	require.NoError(t, writeMessage(w.crowd.links[3].accepted, 7))
	n = 0
	assert.EqualError(t, w.Close(0, &n),
		"connections lost during close: 1, first the dialed end of connection 3: got message 7 unasked")
}

func TestWrongMessageIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, 10)
	require.NoError(t, writeMessage(w.crowd.links[3].accepted, 7))
	var n int
	assert.ErrorContains(t, w.Echo(0, &n), "the dialed end of connection 3: got message 7 unasked")
}

func TestWrongPolicyIsFound(t *testing.T) {
	t.Parallel()
	w := open(t, 2)
	for i := range w.crowd.links {
		l := &w.crowd.links[i]
		require.NoError(t, w.crowd.verify(l))
		keeper, _ := w.crowd.ends(l)
		require.NoError(t, keepalive.Config{Idle: time.Minute}.Apply(keeper))
		assert.ErrorContains(t, w.crowd.verify(l), "the kernel holds idle=1m0s,")
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	o := options{silenced: 2, policy: keepalive.Config{Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3}}
	trial := &trial{options: o}
	seconds := func(s ...float64) []time.Duration {
		times := make([]time.Duration, len(s))
		for i := range s {
			times[i] = time.Duration(s[i] * float64(time.Second))
		}
		return times
	}
	for name, tt := range map[string]struct {
		noticed Noticed
		want    string
	}{
		"all":                      {Noticed{SinceSilence: seconds(9, 22.3), SinceHeard: seconds(19, 22.37)}, ""},
		"one missing":              {Noticed{SinceSilence: seconds(9), SinceHeard: seconds(19)}, "of 2 silent peers 1 were not noticed, 0 later than 22.375s, and 0 before"},
		"one late":                 {Noticed{SinceSilence: seconds(9, 12), SinceHeard: seconds(19, 22.4)}, "0 were not noticed, 1 later"},
		"one early":                {Noticed{SinceSilence: seconds(9, 12), SinceHeard: seconds(19, 18.9)}, "0 later than 22.375s, and 1 before 19s"},
		"one early by its silence": {Noticed{SinceSilence: seconds(9, 8.9), SinceHeard: seconds(19, 19)}, "and 1 before"},
		"another lost":             {Noticed{SinceSilence: seconds(9, 9), SinceHeard: seconds(19, 19), Others: 1, First: ", first X"}, "1 others were lost, first X"},
	} {
		err := trial.judge(tt.noticed)
		if tt.want == "" {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorContains(t, err, tt.want, name)
		}
	}
}
