package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const limit = 8 * time.Second

// A peerOf is a simulated peer, and what the kernel counts of it.
type peerOf struct {
	now     time.Time
	silence Silence
	flight  Flight
	heard   time.Time
}

func newPeerOf() *peerOf {
	now := time.Unix(1e9, 0)
	p := &peerOf{now: now, heard: now, flight: Flight{Outstanding: true, Timeout: 200 * time.Millisecond}}
	p.silence.Start(now)
	return p
}

// look observes the peer after some time.
func (p *peerOf) look(after time.Duration) bool {
	p.now = p.now.Add(after)
	p.flight.SinceHeard = p.now.Sub(p.heard)
	return p.silence.Observe(p.now, p.flight, limit)
}

// untilLost observes every second, while retransmissions go out at some seconds, and
// returns after how many seconds the peer is lost.
func (p *peerOf) untilLost(t *testing.T, retransmissions ...int) int {
	t.Helper()
	for second := 1; second < 1000; second++ {
		for _, at := range retransmissions {
			if at == second {
				p.flight.Unanswered++
			}
		}
		if p.look(time.Second) {
			return second
		}
	}
	return 0
}

func TestSilence(t *testing.T) {
	for name, tt := range map[string]struct {
		retransmissions []int
		want            int
	}{
		"nothing was asked again":             {nil, 0},
		"one retransmission":                  {[]int{1}, 0},
		"two are too few":                     {[]int{1, 20}, 0},
		"the third is the last":               {[]int{1, 9, 20}, 21},
		"the third, after an answer":          {[]int{2, 9, 20}, 21},
		"the backoff":                         {[]int{1, 3, 7, 15, 31}, 16},
		"time without a new one":              {[]int{1, 2, 3, 500}, 501},
		"one at the end of the time, exactly": {[]int{1, 3, 9}, 10},
	} {
		assert.Equal(t, tt.want, newPeerOf().untilLost(t, tt.retransmissions...), name)
	}
}

func TestSilenceOfAPeerThatAnswers(t *testing.T) {
	p := newPeerOf()
	for range 100 {
		assert.False(t, p.look(time.Second))
		p.flight.Unanswered++ // without progress
		assert.False(t, p.look(time.Second))
		p.heard = p.now.Add(time.Millisecond)
	}
	assert.Equal(t, 16, p.untilLost(t, 1, 3, 7, 15), "and then falls silent")

	p.heard = p.now.Add(time.Millisecond)
	assert.Equal(t, 0, p.untilLost(t, 3, 20), "two after its answer are too few")

	p = newPeerOf()
	p.flight.Unanswered = 3
	assert.False(t, p.look(time.Second))
	p.flight.Unanswered = 0
	assert.False(t, p.look(time.Second))
	assert.Equal(t, 16, p.untilLost(t, 1, 3, 7, 15))
}

// The time begins anew with other data.
func TestSilenceOfNothingInFlight(t *testing.T) {
	p := newPeerOf()
	assert.Equal(t, 0, p.untilLost(t, 1, 9))
	p.flight.Outstanding = false
	assert.False(t, p.look(time.Second))
	p.flight.Outstanding = true
	p.flight.Unanswered = 0
	assert.Equal(t, 16, p.untilLost(t, 1, 3, 7, 15), "once it is there")

	p.flight.Outstanding, p.flight.Unanswered = false, 0
	assert.False(t, p.look(time.Second))
	p.flight.Outstanding, p.flight.Unanswered = true, 3
	assert.False(t, p.look(time.Second), "seen for the first time")
	assert.Equal(t, 16, p.untilLost(t, 1, 3, 7, 15))
}

// Keepalive's probes count neither before there is data nor with it.
func TestSilenceAfterKeepalive(t *testing.T) {
	p := newPeerOf()
	p.flight.Outstanding = false
	p.flight.Unanswered = 5
	assert.False(t, p.look(time.Second))
	p.flight.Outstanding, p.flight.Probing = true, true
	assert.Equal(t, 22, p.untilLost(t, 3, 12, 21), "three more")
}

// The time for which a machine was paused does not count, and a retransmission has
// to be unanswered after it.
func TestSilenceOfAPausedMachine(t *testing.T) {
	p := newPeerOf()
	p.flight.Unanswered = 6
	assert.False(t, p.look(time.Second))
	p.flight.Unanswered++
	assert.False(t, p.look(7*time.Second), "paused")
	p.flight.Unanswered++
	assert.False(t, p.look(10*time.Minute), "paused")
	assert.Equal(t, 0, p.untilLost(t), "no new one")

	p = newPeerOf()
	p.flight.Unanswered = 6
	p.look(time.Second)
	p.flight.Unanswered++
	assert.False(t, p.look(10*time.Minute))
	assert.Equal(t, 10, p.untilLost(t, 9))

	p = newPeerOf()
	p.flight.Timeout = 2 * time.Second
	for range 10 {
		p.flight.Unanswered++
		assert.False(t, p.look(time.Second))
	}
	assert.False(t, p.look(time.Minute), "just before the end")
	assert.Equal(t, 4, p.untilLost(t, 2), "another one")

	p = newPeerOf()
	assert.Equal(t, 0, p.untilLost(t, 1, 20))
	p.flight.Unanswered++
	assert.False(t, p.look(5*time.Second), "paused, with the third")
	assert.Equal(t, 0, p.untilLost(t), "it may have been answered")
	assert.Equal(t, 3, p.untilLost(t, 2))

	p = newPeerOf()
	for range 3 {
		p.flight.Unanswered++
		assert.False(t, p.look(limit/2), "no pause")
	}
	assert.True(t, p.look(time.Second))

	p = newPeerOf()
	for lost, looks := false, 1; !lost; looks++ { // a machine that is paused at every third
		require.Less(t, looks, 100)
		switch looks % 3 {
		case 0:
			assert.False(t, p.look(5*time.Second))
		case 1:
			p.flight.Unanswered++
			assert.False(t, p.look(time.Second))
		default:
			if lost = p.look(time.Second); lost {
				assert.Equal(t, 14, looks)
			}
		}
	}
}

// An answer may be on its way for as long as a round trip takes.
func TestSilenceOverALongPath(t *testing.T) {
	p := newPeerOf()
	p.flight.Timeout = 2500 * time.Millisecond
	assert.Equal(t, 18, p.untilLost(t, 1, 3, 7, 15, 31))
}

// After 255 comes 0.
func TestSilenceOfManyRetransmissions(t *testing.T) {
	p := newPeerOf()
	p.flight.Unanswered = 254
	p.look(time.Second)
	assert.Equal(t, 0, p.untilLost(t, 1, 2), "they count anew")

	p = newPeerOf()
	p.flight.Unanswered = 254
	assert.False(t, p.look(time.Second))
	p.heard = p.now.Add(time.Millisecond)
	assert.False(t, p.look(time.Second), "answered")
	assert.Equal(t, 0, p.untilLost(t, 1))
	p.flight.Unanswered = 1 // 0 was not seen
	assert.Equal(t, 13, p.untilLost(t, 3, 12), "three of the new ones")
}
