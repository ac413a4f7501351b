package pathidle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Left is what a path takes that forgets in the geometric middle, and LeftMost is no
// less than one takes that forgets at either end.
func TestProgressLeft(t *testing.T) {
	const middle = time.Minute // of a second and an hour
	o := Options{Max: time.Hour, Connections: 8}
	p := newSearch(o).progress(0)
	end, asked := newSearch(o).run(&idlePath{limit: middle + 1, rtt: usualRTT}, 0)
	assert.Equal(t, end, p.Left)
	for i, c := range p.Conns {
		assert.Equal(t, asked[i], c.Until)
	}
	for _, limit := range []time.Duration{0, time.Second + 1, time.Hour - 1, time.Hour, middle} {
		assert.GreaterOrEqual(t, p.LeftMost, o.Duration(limit), limit)
	}
}

// What is expected comes true, with the round-trip time of the path.
func TestProgressComesTrue(t *testing.T) {
	for _, rtt := range []time.Duration{testRTT, time.Second / 2} {
		const limit = 20 * time.Second
		s := newSearch(Options{Max: time.Minute, Connections: 2})
		w := &watched{idlePath: idlePath{limit: limit, rtt: rtt}}
		end, _ := s.run(w, 0)
		found := false
		for _, p := range w.pictures {
			assert.True(t, p.Lost == 0 || p.Lost >= limit)
			assert.Less(t, p.Survived, limit)
			assert.LessOrEqual(t, end-p.Elapsed, p.LeftMost*11/10+2*rtt)
			found = found || p.Lost != 0
		}
		assert.True(t, found)
	}
}

// watched takes a picture before each event.
type watched struct {
	idlePath
	pictures []Progress
}

func (w *watched) happen(s *search, now time.Duration) {
	w.pictures = append(w.pictures, s.progress(now))
	w.idlePath.happen(s, now)
}

func TestProgressConns(t *testing.T) {
	s := newSearch(Options{Max: time.Hour, Connections: 4})
	state := func(now time.Duration) (states []State) {
		for _, c := range s.progress(now).Conns {
			states = append(states, c.State)
		}
		return states
	}
	assert.Equal(t, []State{StateClosed, StateClosed, StateClosed, StateClosed}, state(0))
	s.dialed(0, 0)
	s.dialed(1, 0)
	s.dialed(2, 0)
	assert.Equal(t, []State{StateConnecting, StateConnecting, StateConnecting, StateClosed}, state(0))
	s.accepted(0, testRTT, testRTT, 0)
	s.accepted(1, testRTT, testRTT, 0)
	s.refused(2, assert.AnError)
	assert.Equal(t, []State{StateIdle, StateIdle, StateRefused, StateClosed}, state(testRTT))
	p := s.progress(time.Second)
	assert.Equal(t, testRTT, p.Conns[0].Since)
	assert.Equal(t, testRTT+time.Second, p.Conns[0].Until)
	assert.Zero(t, p.Conns[2].Until, "it is not asked")
	assert.Zero(t, p.Survived)
	assert.Zero(t, p.Lost)
	s.asked(0, testRTT+time.Second, testRTT+time.Second)
	assert.Equal(t, StateAsked, state(testRTT + time.Second)[0])
	assert.Equal(t, StateAsked, state(testRTT + time.Second + testRTT)[0])
	doubtful := testRTT + time.Second + 300*time.Millisecond
	assert.Equal(t, StateDoubtful, state(doubtful)[0])
	assert.Equal(t, time.Second, s.progress(doubtful).Lost, "as it seems")
	s.answered(0, doubtful)
	p = s.progress(doubtful)
	assert.Equal(t, Conn{StateIdle, doubtful, p.Conns[0].Until}, p.Conns[0])
	assert.Greater(t, p.Conns[0].Until, doubtful+time.Second)
	assert.Equal(t, time.Second, p.Survived)
	assert.Zero(t, p.Lost, "it was wrong")
}

// A question that was just asked is as good as one that is about to be.
func TestProgressGoesOn(t *testing.T) {
	s := opened(2)
	now := 20 * time.Second
	before := s.progress(now)
	st := s.next(now)
	assert.Equal(t, ask, st.do)
	s.asked(st.conn, now, now)
	after := s.progress(now)
	assert.InDelta(t, before.Left, after.Left, float64(2*testRTT))
	s.answered(st.conn, now+testRTT)
	answered := s.progress(now + testRTT)
	assert.InDelta(t, before.LeftMost, answered.LeftMost, float64(before.LeftMost)/2)

	s = newSearch(Options{Max: time.Hour, Connections: 2})
	s.dialed(0, 0)
	s.dialed(1, 0)
	assert.Equal(t, newSearch(Options{Max: time.Hour, Connections: 2}).progress(0).Left, s.progress(0).Left)
}
