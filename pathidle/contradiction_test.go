package pathidle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A connection that the path should know and has reset tells that it has forgotten all,
// unless another one can still tell otherwise.
func TestPathForgetsAll(t *testing.T) {
	const at = 10 * time.Second // idle for less than survives
	for name, tt := range map[string]struct {
		idle     time.Duration // of the other connection
		asked    bool
		lost     time.Duration // when the first one is asked
		restarts int
	}{
		"another one can tell":              {time.Second, false, at, 0},
		"another one is asked":              {2 * time.Second, true, at, 0},
		"another one has idled for long":    {9 * time.Second, false, at, 1},
		"it has idled for longer than that": {time.Second, false, 14 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(2)
			s.asked(0, tt.lost, tt.lost)
			s.conns[1].since = tt.lost - tt.idle
			if tt.asked {
				s.asked(1, tt.lost, tt.lost)
			}
			s.ended(0, tt.lost+testRTT, Reset)
			for i := range s.losses {
				s.losses[i].alone = false // another one could tell when the reset came
			}
			s.next(tt.lost + testRTT)
			assert.Equal(t, tt.restarts, s.restarts)
		})
	}
}

// A search that learns nothing that lasts comes to an end.
func TestTooManyQuestions(t *testing.T) {
	s := opened(2)
	s.samples = make([]Sample, 500)
	assert.False(t, s.conclude(10*time.Second))
	s.samples = make([]Sample, 5000)
	assert.True(t, s.conclude(10*time.Second))
	assert.EqualError(t, s.err, "no lasting answer after 5000 questions")
	assert.Equal(t, Incomplete, s.result(0).Verdict)
}
