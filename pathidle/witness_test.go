package pathidle

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A witness knows what has happened in a simulation, whatever the search makes of it.
type witness struct {
	conns   []*seenConn // by place; nil where none is open
	samples []Sample
	lives   []time.Duration // when the server was heard of
	losses  []seenLoss
	proved  []time.Duration // by place: the longest idle time that a connection has survived
	oldest  time.Duration   // the greatest age at which a connection has answered
	longest time.Duration   // the longest idle time that one has survived
	gaps    []time.Duration // between the probes of a question
	ended   time.Duration
	inVain  int // the most probes of a question that an outage has swallowed
}

type seenConn struct {
	opened, heard time.Duration
	survived      time.Duration
	probes        []time.Duration
	inVain        int
}

// seenLoss is a connection that was given up or reset.
type seenLoss struct {
	place          int
	opened, heard  time.Duration
	first, last    time.Duration // probe
	idle, survived time.Duration
	placed         time.Duration // the silence that counts: before the fourth probe, or the reset
	reset          bool
}

func (v *witness) begin(places int) {
	*v = witness{conns: make([]*seenConn, places), proved: make([]time.Duration, places)}
}

func (v *witness) accepted(i int, now time.Duration) {
	v.conns[i] = &seenConn{opened: now, heard: now}
	v.lives = append(v.lives, now)
}

func (v *witness) asked(i int, now time.Duration, down bool) {
	c := v.conns[i]
	if n := len(c.probes); n > 0 {
		v.gaps = append(v.gaps, now-c.probes[n-1])
	}
	c.probes = append(c.probes, now)
	if down {
		c.inVain++
		v.inVain = max(v.inVain, c.inVain)
	}
}

// heard is a segment that has arrived from the server.
func (v *witness) heard(i int, now time.Duration, how Outcome) {
	c := v.conns[i]
	s := Sample{Idle: now - c.heard, Outcome: how, Probes: len(c.probes)}
	if s.Probes > 0 {
		s.Idle = c.probes[0] - c.heard
	}
	if s.Probes > 0 && how == Heard {
		s.Outcome = Answered
	}
	if s.Probes == 1 && s.Outcome == Answered {
		s.RTT = now - c.probes[0]
	}
	v.samples = append(v.samples, s)
	if how == Reset {
		v.lose(i, now, true)
		return
	}
	v.lives = append(v.lives, now)
	c.survived = max(c.survived, s.Idle)
	v.proved[i], v.longest = max(v.proved[i], s.Idle), max(v.longest, s.Idle)
	if how != Closed {
		v.oldest = max(v.oldest, now-c.opened)
		c.heard, c.probes, c.inVain = now, nil, 0
	} else {
		v.conns[i] = nil
	}
}

// hungUp is a connection that the search has closed.
func (v *witness) hungUp(i int, now time.Duration) {
	if c := v.conns[i]; c != nil && len(c.probes) > 0 {
		v.samples = append(v.samples, c.unanswered())
		v.lose(i, now, false)
	}
	v.conns[i] = nil
}

func (c *seenConn) unanswered() Sample {
	return Sample{Idle: c.probes[0] - c.heard, Outcome: NoAnswer, Probes: len(c.probes)}
}

func (v *witness) lose(i int, now time.Duration, reset bool) {
	c := v.conns[i]
	l := seenLoss{place: i, opened: c.opened, heard: c.heard, first: now, last: now, survived: c.survived, reset: reset}
	if n := len(c.probes); n > 0 {
		l.first, l.last = c.probes[0], c.probes[n-1]
	}
	l.idle = l.first - c.heard
	l.placed = l.idle
	if !reset && len(c.probes) >= 4 {
		l.placed = c.probes[3] - c.heard
	}
	v.losses = append(v.losses, l)
	v.conns[i] = nil
}

// check compares what is promised with what has happened.
func (v *witness) check(t *testing.T, w *simulation, s *search, r Result) {
	t.Helper()
	v.checkSamples(t, r)
	for _, gap := range v.gaps {
		assert.GreaterOrEqual(t, gap, 260*time.Millisecond+2*w.rtt, "time between probes")
	}
	for _, sample := range r.Samples {
		if sample.Outcome == Answered {
			assert.GreaterOrEqual(t, sample.Idle, time.Second)
		}
	}
	v.checkLosses(t, w, r)
	switch r.Verdict {
	case Found:
		v.checkFound(t, s, r)
		if n := len(v.conns); !w.canFail() && w.closes == 0 && w.sends == 0 && w.allows == 0 && w.slow == nil {
			factor := map[bool]time.Duration{true: 5, false: 12}[n >= 8]
			assert.LessOrEqual(t, v.ended, factor*r.Lost+30*time.Second, "%d connections", n)
		}
	case NothingLost:
		assert.GreaterOrEqual(t, r.Survived, s.max)
		assert.Equal(t, v.longest, r.Survived)
		for i, proved := range v.proved {
			assert.True(t, proved >= s.max/2 || s.conns[i].state == StateRefused, "place %d has survived %v", i, proved)
		}
	case Varies:
		if !w.canFail() && w.closes == 0 {
			v.checkEachSurvives(t)
		}
		if !w.canFail() && !w.cuts {
			survived, lost := v.leasts()
			assert.Equal(t, lost, r.Lost)
			assert.True(t, r.Survived == survived || survived >= lost && r.Survived < lost, "%v, want %v", r.Survived, survived)
		}
		assert.True(t, slices.ContainsFunc(v.losses, func(l seenLoss) bool { return l.idle <= v.longest+2*time.Second }), "lost after what another one has survived")
	case EndsByAge:
		assert.Less(t, v.oldest, r.After+time.Second, "no connection has answered that was older")
		assert.True(t, slices.ContainsFunc(v.losses, func(l seenLoss) bool { return (r.After - l.first + l.opened).Abs() <= 2*w.rtt }), "one was lost at that age")
	case ServerSends, ServerCloses:
		assert.Equal(t, v.longest, r.Survived)
	}
	if r.Verdict != Incomplete {
		assert.LessOrEqual(t, r.Survived, v.longest)
	}
}

// leasts are the least, over all connections, of the longest idle time that each has
// survived, and the shortest one after which one was lost.
func (v *witness) leasts() (survived, lost time.Duration) {
	survived, lost = never, never
	for _, l := range v.losses {
		survived, lost = min(survived, l.survived), min(lost, l.placed)
	}
	for _, c := range v.conns {
		if c != nil && len(c.probes) == 0 {
			survived = min(survived, c.survived)
		}
	}
	return survived, lost
}

// checkEachSurvives: those that were not lost have survived what the others had, so that
// the policy need not probe more often than for these.
func (v *witness) checkEachSurvives(t *testing.T) {
	t.Helper()
	least := never
	for _, l := range v.losses {
		least = min(least, l.survived)
	}
	for i, c := range v.conns {
		assert.True(t, c == nil || len(c.probes) > 0 || c.survived >= least, "place %d, of those lost one had survived %v", i, least)
	}
}

// checkSamples compares the samples with what has happened. A connection that is given
// up in an outage has none.
func (v *witness) checkSamples(t *testing.T, r Result) {
	t.Helper()
	seen := v.samples
	if r.Verdict == Found {
		for _, c := range v.conns {
			if c != nil && len(c.probes) > 0 {
				seen = append(slices.Clip(seen), c.unanswered())
			}
		}
	}
	for _, sample := range r.Samples {
		for len(seen) > 0 && seen[0] != sample && seen[0].Outcome == NoAnswer {
			seen = seen[1:]
		}
		if !assert.NotEmpty(t, seen, "%+v has not happened", sample) || !assert.Equal(t, seen[0], sample) {
			return
		}
		seen = seen[1:]
	}
	seen = slices.DeleteFunc(slices.Clone(seen), func(s Sample) bool { return s.Outcome == NoAnswer })
	assert.Empty(t, seen, "not told")
}

// checkLosses: while the probes went unanswered the server was heard of.
func (v *witness) checkLosses(t *testing.T, w *simulation, r Result) {
	t.Helper()
	for _, s := range r.Samples {
		if s.Outcome == NoAnswer && r.Verdict != Found { // which ends while others are asked
			assert.GreaterOrEqual(t, s.Probes, 4)
		}
	}
	if w.canFail() {
		return
	}
	assert.Zero(t, r.Outages)
	for _, l := range v.losses {
		if l.reset {
			continue
		}
		alive := slices.ContainsFunc(v.lives, func(at time.Duration) bool {
			return at >= l.first && at <= l.last+2*time.Second+4*w.rtt
		})
		assert.True(t, alive, "%+v with no sign of life", l)
	}
}

func (v *witness) checkFound(t *testing.T, s *search, r Result) {
	t.Helper()
	for i, proved := range v.proved {
		assert.True(t, proved >= r.Survived || s.conns[i].state == StateRefused, "place %d has survived %v", i, proved)
	}
	told := 0
	for _, sample := range r.Samples {
		if sample.Outcome == NoAnswer || sample.Outcome == Reset {
			told++
		}
	}
	assert.GreaterOrEqual(t, told, 2, "samples that are lost")
	losses := v.losses
	for i, c := range v.conns {
		if c != nil && len(c.probes) >= 4 {
			losses = append(slices.Clip(losses), seenLoss{place: i, opened: c.opened, heard: c.heard, first: c.probes[0], idle: c.probes[0] - c.heard})
		}
	}
	assert.GreaterOrEqual(t, len(losses), 2, "two were lost")
	first, youngest := never, never
	for _, l := range losses {
		first, youngest = min(first, l.first), min(youngest, l.first-l.opened)
	}
	assert.True(t, slices.ContainsFunc(losses, func(l seenLoss) bool { return l.heard >= first }), "one of them was alive after the first loss")
	assert.Greater(t, v.oldest, youngest, "one has answered that was older than one that was lost")
}
