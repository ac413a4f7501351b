package pathidle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// What a server says after it has accepted a connection is no reason to stop. What it
// says again and again is.
func TestServerSpeaks(t *testing.T) {
	const s = time.Second
	every := func(pause time.Duration, n int) (pauses []time.Duration) {
		for range n {
			pauses = append(pauses, pause)
		}
		return pauses
	}
	for name, tt := range map[string]struct {
		pauses  []time.Duration
		verdict Verdict
		after   time.Duration
	}{
		"once":                     {[]time.Duration{15 * s}, Incomplete, 0},
		"at once and later":        {[]time.Duration{s / 2, 15 * s}, Incomplete, 0},
		"twice":                    {every(15*s, 2), ServerSends, 15 * s},
		"1/8 late":                 {[]time.Duration{15 * s, 16800 * time.Millisecond}, ServerSends, 16800 * time.Millisecond},
		"1/8 early":                {[]time.Duration{16800 * time.Millisecond, 15 * s}, ServerSends, 16800 * time.Millisecond},
		"a short pause, 1/4 s off": {[]time.Duration{1500 * time.Millisecond, 1750 * time.Millisecond}, ServerSends, 1750 * time.Millisecond},
		"after another pause":      {[]time.Duration{15 * s, 18 * s}, Incomplete, 0},
		"several words":            {[]time.Duration{15 * s, s / 2, s / 2, 14 * s}, ServerSends, 15 * s},
		"7 pauses":                 {[]time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s}, Incomplete, 0},
		"8 pauses":                 {[]time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, s}, ServerSends, 128 * s},
		"9.5 s long":               {every(s/2, 19), Incomplete, 0},
		"10 s long":                {every(s/2, 20), ServerSends, s},
	} {
		t.Run(name, func(t *testing.T) {
			search := newSearch(Options{Max: time.Hour, Connections: 1})
			search.dialed(0, 0)
			search.accepted(0, testRTT, testRTT, 0)
			now := testRTT
			for i, pause := range tt.pauses {
				assert.Equal(t, Incomplete, search.verdict, i)
				now += pause
				search.heard(0, now)
			}
			r := search.result(now)
			assert.Equal(t, tt.verdict, r.Verdict)
			assert.Equal(t, tt.after, r.After)
			assert.Len(t, r.Samples, len(tt.pauses))
			for i, sample := range r.Samples {
				assert.Equal(t, Sample{Idle: tt.pauses[i], Outcome: Heard}, sample)
			}
		})
	}
}

// An answer is nothing that the server says by itself, even if it comes twice, since
// more than one probe was sent.
func TestAnswersAreNoWords(t *testing.T) {
	s := opened(1)
	at := 20 * time.Second
	for range 10 {
		last := s.askInVain(0, 3, at)
		s.heard(0, last+testRTT)
		s.heard(0, last+testRTT+300*time.Millisecond)
		assert.Equal(t, Incomplete, s.verdict)
		at += 20 * time.Second
	}
	assert.Equal(t, Answered, s.samples[2].Outcome)
	assert.Equal(t, 3, s.samples[2].Probes)
	assert.Equal(t, Heard, s.samples[3].Outcome)
}

// A server that sends hides how long the path remembers only where the path remembers
// for longer.
func TestServerSends(t *testing.T) {
	for i := range uint64(60) {
		random := rand.New(rand.NewPCG(i, 20))
		limit := logUniform(random, 5*time.Second, time.Hour/2)
		sends := logUniform(random, 5*time.Second, time.Hour/2)
		for _, n := range []int{1, 2, 8} {
			w := simulation{limit: constant(limit), sends: sends}
			r := simulate(t, Options{Connections: n}, &w)
			name := fmt.Sprint(n, " connections, limit ", limit, ", sends after ", sends)
			switch {
			case sends < limit-3*time.Second:
				if r.Verdict == Found && limit < 2*sends {
					break // no other segment came before
				}
				assert.Equal(t, ServerSends, r.Verdict, name)
			case limit < sends/2:
				assert.Equal(t, Found, r.Verdict, name)
			}
			switch r.Verdict {
			case Found:
				assert.Less(t, r.Survived, limit, name)
				assert.GreaterOrEqual(t, r.Lost, limit, name)
			case ServerSends:
				assert.InDelta(t, sends, r.After, float64(time.Second), name)
				assert.LessOrEqual(t, w.ended, 2*sends+time.Second, name)
				assert.Zero(t, r.Lost, name)
			default:
				assert.Fail(t, string(r.Verdict), name)
			}
		}
	}
}

// So it is with one that closes or resets connections.
func TestServerCloses(t *testing.T) {
	unclear := 0
	for i := range uint64(60) {
		random := rand.New(rand.NewPCG(i, 21))
		limit := logUniform(random, 5*time.Second, time.Hour/2)
		closes := logUniform(random, 5*time.Second, time.Hour/2)
		w := simulation{limit: constant(limit), closes: closes, closedBy: []Outcome{Closed, Reset}[random.IntN(2)], resets: random.IntN(2) == 0}
		for _, n := range []int{1, 2, 8} {
			r := simulate(t, Options{Connections: n}, &w)
			name := fmt.Sprint(n, " connections, limit ", limit, ", after ", closes, " ", w.closedBy, ", resets ", w.resets)
			assert.Less(t, r.Survived, limit, name)
			switch r.Verdict {
			case Found:
				assert.GreaterOrEqual(t, r.Lost, limit, name)
				assert.Less(t, limit, closes, name)
			case ServerCloses:
				assert.InDelta(t, closes, r.After, float64(time.Second), name)
				assert.Less(t, closes, 8*limit, name)
				assert.Less(t, r.Survived, closes, name)
			default:
				assert.Equal(t, Reset, w.closedBy, name) // which a path may do as well
				assert.Equal(t, Varies, r.Verdict, name)
				unclear++
			}
		}
	}
	assert.LessOrEqual(t, unclear, 2, "of 180")
}

// Whether the path forgets sooner than the server closes is found out in little more
// than twice that time, where the server hides it, and in four times at most.
func TestServerClosesAboutThen(t *testing.T) {
	const closes = time.Minute
	for _, percent := range []time.Duration{5, 10, 20, 30, 40, 60, 80, 90, 95, 105, 150, 300} {
		limit := closes * percent / 100
		for _, how := range []Outcome{Closed, Reset} {
			for kind, w := range map[string]simulation{"drops": {}, "resets": {resets: true}, "cuts": {cuts: true}} {
				for _, n := range []int{1, 2, 8} {
					w.limit, w.closes, w.closedBy = constant(limit), closes, how
					r := simulate(t, Options{Connections: n}, &w)
					name := fmt.Sprint(n, " connections, limit ", limit, ", ", how, ", path ", kind)
					assert.Zero(t, r.Outages, name)
					assert.Less(t, r.Survived, limit, name)
					switch r.Verdict {
					case Found:
						assert.LessOrEqual(t, percent, time.Duration(80), name)
						assert.GreaterOrEqual(t, r.Lost, limit, name)
						assert.LessOrEqual(t, w.ended, 4*closes, name)
					case ServerCloses:
						assert.Greater(t, percent, time.Duration(40), name)
						assert.InDelta(t, closes, r.After, float64(100*time.Millisecond), name)
						assert.LessOrEqual(t, w.ended, 2*closes+time.Second, name)
						assert.Greater(t, r.Survived, min(limit, closes)/3, name)
					default:
						assert.Fail(t, string(r.Verdict), name)
					}
				}
			}
		}
	}
}

// A server that allows fewer connections is measured with those.
func TestFewerConnections(t *testing.T) {
	const limit = 100 * time.Second
	for allowed := 1; allowed <= 4; allowed++ {
		w := simulation{limit: constant(limit), allows: allowed}
		r := simulate(t, Options{Connections: 4}, &w)
		assert.Equal(t, Found, r.Verdict, allowed)
		assert.Less(t, r.Survived, limit)
		assert.GreaterOrEqual(t, r.Lost, limit)
	}
}

// A connection that can't be opened is no error as long as another one is there.
func TestRefused(t *testing.T) {
	refused := errors.New("refused")
	s := newSearch(Options{Max: time.Hour, Connections: 2})
	s.dialed(0, 0)
	s.dialed(1, 0)
	s.refused(0, refused)
	assert.NoError(t, s.err)
	s.refused(1, refused)
	assert.Equal(t, refused, s.err, "nothing is known of the server")
	assert.Equal(t, finish, s.next(0).do)

	s = opened(2)
	s.dialed(0, 10*time.Second)
	s.accepted(0, 10*time.Second, testRTT, 0)
	s.refused(0, refused)
	assert.NoError(t, s.err)
	s.refused(1, refused)
	assert.EqualError(t, s.err, "no connection is left, and no new one can be opened: refused")
	assert.ErrorIs(t, s.err, refused)
	assert.Equal(t, 5*time.Second, s.result(0).Survived)
}

// If a question whose answer is known goes unanswered for 10 s, the network is down. All
// connections are made anew.
func TestNothingAnsweredForLong(t *testing.T) {
	for _, interval := range []time.Duration{300 * time.Millisecond, 3 * time.Second} {
		s := opened(2)
		s.lower = time.Minute // which is more than it has idled for
		const at = 9 * time.Second
		probes, now := 0, time.Duration(at)
		for ; now < time.Minute; now += interval {
			s.asked(0, now, now)
			probes++
			if s.connStep(0, now); s.restarts != 0 {
				break
			}
		}
		assert.Equal(t, 1, s.restarts)
		assert.GreaterOrEqual(t, now-at, 10*time.Second)
		assert.GreaterOrEqual(t, probes, 12)
		assert.True(t, now-at < 10*time.Second+interval || probes == 12, "%v, %d probes", now-at, probes)
		assert.Zero(t, s.result(now).Lost)
		for i := range 2 {
			assert.Equal(t, step{do: hangUp, conn: i, at: now}, s.connStep(i, now))
			s.hungUp(i, now)
		}
		s.dialed(0, now)
		s.accepted(0, now+testRTT, testRTT, 0)
		assert.Equal(t, 1, s.result(now).Outages)
	}
}

// A network that fails again and again is not measured. What could not be opened stays
// so.
func TestNetworkFailsAgainAndAgain(t *testing.T) {
	for failures := 1; failures <= 4; failures++ {
		s := opened(3)
		s.refused(2, assert.AnError)
		for i := range failures {
			assert.NoError(t, s.err, i)
			s.restart()
		}
		if failures <= 3 {
			assert.NoError(t, s.err)
			for i := range 2 {
				assert.Equal(t, step{do: hangUp, conn: i}, s.next(0), "all are made anew")
				s.hungUp(i, 0)
				s.dialed(i, 0)
			}
			assert.NotEqual(t, hangUp, s.next(0).do)
			assert.Len(t, s.samples, 6, "no question was lost")
		} else {
			assert.EqualError(t, s.err, "the network has failed 4 times")
			assert.Equal(t, step{do: finish}, s.next(0))
		}
	}
}

// That the server closes connections is told once all that have reached the age are
// closed, and a new one has shown that the server is there.
func TestServerClosesAll(t *testing.T) {
	const at = time.Minute
	for name, how := range map[string]Outcome{"closed": Closed, "reset": Reset} {
		t.Run(name, func(t *testing.T) {
			s := opened(3)
			for i := range 3 {
				s.askAndAnswer(i, at-20*time.Second) // so that idle times do not tell of the path
			}
			s.ended(0, at, how)
			assert.False(t, s.conclude(at))
			s.dialed(0, at)
			s.accepted(0, at+testRTT, testRTT, 0)
			assert.False(t, s.conclude(at+testRTT), "the others are about to be closed")
			s.ended(1, at+200*time.Millisecond, how)
			s.ended(2, at+400*time.Millisecond, how)
			assert.False(t, s.conclude(at+400*time.Millisecond), "the server may be gone")
			s.dialed(1, at+time.Second)
			s.accepted(1, at+time.Second+testRTT, testRTT, 0)
			now := at + 2*time.Second
			assert.True(t, s.conclude(now))
			r := s.result(now)
			assert.Equal(t, ServerCloses, r.Verdict)
			assert.Equal(t, at, r.After)
			assert.Zero(t, r.Lost)
		})
	}
}

// A connection of that age that was not heard of is asked.
func TestServerClosesUnheard(t *testing.T) {
	const at = time.Minute
	s := opened(2)
	for i := range 2 {
		s.askAndAnswer(i, at-20*time.Second)
	}
	s.ended(0, at, Closed)
	s.dialed(0, at)
	s.accepted(0, at+testRTT, testRTT, 0)
	assert.NotEqual(t, 1, s.searchStep(at+900*time.Millisecond).conn)
	now := s.conns[1].since + s.lower + time.Second
	assert.Equal(t, step{do: ask, conn: 1, at: now}, s.searchStep(now))
	assert.False(t, s.conclude(now))
}

// If a connection answers that is older than one that was reset, it was not its age.
func TestResetsAtNoAge(t *testing.T) {
	s := opened(2)
	s.askAndAnswer(0, 30*time.Second)
	s.askAndAnswer(1, 31*time.Second)
	s.ended(0, 50*time.Second, Reset)
	now := 51 * time.Second
	assert.False(t, s.findContradiction(now), "it may be the age at which the server resets connections")
	s.askAndAnswer(1, 52*time.Second)
	now = 54 * time.Second
	assert.True(t, s.findContradiction(now), "another one has survived both the age and the idle time")
	s.dialed(0, now)
	s.accepted(0, now+testRTT, testRTT, 0)
	assert.False(t, s.hidden(now+testRTT))
}
