package pathidle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const testRTT = 20 * time.Millisecond

// opened returns a search with n connections that were opened at 0 and have answered a
// question after 5 s.
func opened(n int) *search {
	s := newSearch(Options{Max: time.Hour, Connections: n})
	for i := range n {
		s.dialed(i, 0)
		s.accepted(i, 0, testRTT, 0)
	}
	for i := range n {
		s.askAndAnswer(i, time.Second)
		s.askAndAnswer(i, 6*time.Second+testRTT)
	}
	return s
}

func (s *search) askAndAnswer(i int, at time.Duration) {
	s.asked(i, at, at)
	s.answered(i, at+testRTT)
}

// askInVain sends n probes in the time that lies between them, and returns the time of
// the last.
func (s *search) askInVain(i, n int, at time.Duration, meanwhile ...func(now time.Duration)) (last time.Duration) {
	for range n {
		s.asked(i, at, at)
		for _, f := range meanwhile {
			f(at)
		}
		last = at
		at += 300 * time.Millisecond
	}
	return last
}

// A connection counts as lost only if the server was there when it did not answer: if
// another connection has answered a question whose answer was known.
func TestLossNeedsAnswersOfAnother(t *testing.T) {
	const at = 20 * time.Second
	for name, tt := range map[string]struct {
		answers []time.Duration // of another connection
		lost    bool
	}{
		"none":             {nil, false},
		"all the time":     {[]time.Duration{at + 200*time.Millisecond, at + 1400*time.Millisecond, at + 2600*time.Millisecond}, true},
		"at both ends":     {[]time.Duration{at - time.Second, at + 1600*time.Millisecond}, true},
		"at the beginning": {[]time.Duration{at + 200*time.Millisecond}, false},
		"at the end":       {[]time.Duration{at + 2600*time.Millisecond}, false},
		"long before":      {[]time.Duration{at - 5*time.Second}, false},
		"long afterwards":  {[]time.Duration{at + 8*time.Second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(3)
			s.askAndAnswer(1, 12*time.Second) // so that it has idled for less
			idle := at - 6*time.Second - 2*testRTT
			answers := tt.answers
			answer := func(until time.Duration) {
				for len(answers) > 0 && answers[0] <= until {
					s.askAndAnswer(1, answers[0]-testRTT)
					answers = answers[1:]
				}
			}
			answer(at - 1)
			last := s.askInVain(0, 9, at, answer)
			answer(never)
			now := last + 10*time.Second
			r := s.result(now)
			if !tt.lost {
				assert.Zero(t, r.Lost)
				return
			}
			// Four probes went unanswered at Lost, or sooner.
			assert.Equal(t, idle+3*300*time.Millisecond, r.Lost)
			assert.Zero(t, s.result(last).Lost, "the last probe may still be answered")
			assert.Equal(t, step{do: hangUp, at: now}, s.connStep(0, now))
			s.hungUp(0, now)
			assert.Equal(t, r.Lost, s.result(now).Lost)
			assert.Zero(t, s.outages)
		})
	}
}

// Where no connection can be asked whose answer is known, a new one in its place has
// to be accepted soon, without a SYN that got lost.
func TestLossNeedsHandshake(t *testing.T) {
	const soon = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		place, resent    int
		dialed, accepted time.Duration // after the connection was hung up
		lost             bool
		outages          int
	}{
		"soon":             {0, 0, 0, soon, true, 0},
		"late":             {0, 0, 3 * time.Second, 3*time.Second + soon, false, 1},
		"after an outage":  {0, 1, 0, soon + time.Second, false, 1},
		"in another place": {1, 0, 0, soon, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(1)
			s.conns = append(s.conns, conn{state: StateClosed})
			last := s.askInVain(0, 12, 20*time.Second)
			hungUp := last + 140*time.Millisecond
			s.hungUp(0, hungUp)
			assert.Zero(t, s.result(hungUp).Lost)
			s.dialed(tt.place, hungUp+tt.dialed)
			s.accepted(tt.place, hungUp+tt.accepted, testRTT, tt.resent)
			r := s.result(hungUp + tt.accepted)
			assert.Equal(t, tt.lost, r.Lost != 0)
			assert.Equal(t, tt.outages, r.Outages)
			assert.Equal(t, Sample{Idle: 20*time.Second - 6*time.Second - 2*testRTT, Outcome: NoAnswer, Probes: 12}, r.Samples[len(r.Samples)-1])
		})
	}
}

// A handshake that began before, and is not complete, may tell that the network was
// down.
func TestLossWaitsForOtherHandshakes(t *testing.T) {
	for name, resent := range map[string]int{"down": 1, "up": 0} {
		t.Run(name, func(t *testing.T) {
			s := opened(1)
			s.conns = append(s.conns, conn{state: StateClosed})
			last := s.askInVain(0, 12, 20*time.Second)
			s.dialed(1, last)
			now := last + 140*time.Millisecond
			s.hungUp(0, now)
			s.dialed(0, now)
			s.accepted(0, now+testRTT, testRTT, 0)
			assert.Zero(t, s.result(now+testRTT).Lost)
			s.accepted(1, now+2*testRTT, testRTT, resent)
			assert.Equal(t, resent == 0, s.result(now+2*testRTT).Lost != 0)
			assert.Equal(t, resent, s.outages)
		})
	}
}

// An answer that comes after as many probes as make a loss tells of an outage.
func TestLateAnswer(t *testing.T) {
	for probes, outages := range map[int]int{1: 0, 3: 0, 8: 0, 9: 1, 12: 1} {
		s := opened(3)
		last := s.askInVain(0, probes, 20*time.Second)
		s.answered(0, last+testRTT)
		r := s.result(last + testRTT)
		assert.Equal(t, outages, r.Outages, probes)
		assert.Zero(t, r.Lost)
		sample := r.Samples[len(r.Samples)-1]
		assert.Equal(t, Answered, sample.Outcome)
		assert.Equal(t, probes, sample.Probes)
		assert.Equal(t, 14*time.Second-2*testRTT, sample.Idle)
		assert.Equal(t, sample.Idle, r.Survived)
		if probes == 1 {
			assert.Equal(t, testRTT, sample.RTT)
		} else {
			assert.Zero(t, sample.RTT, "nobody knows which one was answered")
		}
	}
}

// While an answer is missing, a connection whose answer is known is asked, once a second.
func TestControlQuestions(t *testing.T) {
	s := opened(3)
	now := 7*time.Second + 3*testRTT
	s.askAndAnswer(2, now) // which has idled the least
	at := now + 3*time.Second
	s.lower = 10 * time.Second
	s.conns[0].since = at - 15*time.Second
	s.asked(0, at, at)
	assert.Equal(t, step{at: never}, s.probeStep(at), "an answer may take a round trip")
	doubtful := at + 260*time.Millisecond + 2*testRTT
	control := s.probeStep(doubtful)
	assert.Equal(t, ask, control.do)
	assert.Equal(t, 2, control.conn)
	assert.LessOrEqual(t, control.at, doubtful)
	s.asked(2, doubtful, doubtful)
	assert.Equal(t, step{at: never}, s.controlStep(doubtful), "one is asked")
	s.answered(2, doubtful+testRTT)
	assert.Equal(t, step{do: ask, conn: 2, at: doubtful + testRTT + time.Second}, s.controlStep(doubtful+testRTT))
}

// An answer counts however slow the path is, and whenever it has become slow.
func TestSlowAnswers(t *testing.T) {
	const limit = 100 * time.Second
	for _, n := range []int{1, 3, 8} {
		for _, slow := range []time.Duration{300 * time.Millisecond, 900 * time.Millisecond} {
			s := newSearch(Options{Max: time.Hour, Connections: n})
			w := simulation{limit: constant(limit), rtt: testRTT, slow: func(now time.Duration) time.Duration {
				if now < 30*time.Second {
					return 0
				}
				return slow
			}}
			end, err := w.run(s, time.Hour)
			assert.NoError(t, err)
			r := s.result(end)
			assert.Equal(t, Found, r.Verdict, "%d %v", n, slow)
			assert.Less(t, r.Survived, limit)
			assert.GreaterOrEqual(t, r.Lost, limit)
			assert.Zero(t, r.Outages)
		}
	}
}

// Where packets get lost, a connection is asked more often before it counts as lost.
func TestLossRate(t *testing.T) {
	asks := func(s *search) int {
		confirming, _ := s.thresholds()
		return confirming
	}
	s := opened(2)
	assert.Equal(t, 9, asks(s))
	last := s.askInVain(0, 2, 20*time.Second)
	s.answered(0, last+testRTT)
	assert.Equal(t, 12, asks(s), "one of few probes was lost")
	at := 30 * time.Second
	for range 20 {
		s.askAndAnswer(0, at)
		at += 2 * time.Second
	}
	assert.Equal(t, 9, asks(s), "one of many was")
	for range 2 {
		s.dialed(1, at)
		s.accepted(1, at+time.Second, testRTT, 1)
	}
	assert.Equal(t, 12, asks(s), "a SYN counts as well")
}

// How long an answer may take is what it took before.
func TestDoubtKnowsRoundTrip(t *testing.T) {
	s := opened(2)
	s.asked(0, 20*time.Second, 20*time.Second)
	s.answered(0, 20*time.Second+500*time.Millisecond)
	const at = 30 * time.Second
	s.asked(0, at, at)
	assert.Equal(t, StateAsked, s.progress(at + 1250*time.Millisecond).Conns[0].State)
	assert.Equal(t, StateDoubtful, s.progress(at + 1270*time.Millisecond).Conns[0].State)
}

// An outage that several connections notice is one.
func TestOutageOfAll(t *testing.T) {
	s := opened(3)
	const at = 20 * time.Second
	for i := range 3 {
		from := at + time.Duration(i)*100*time.Millisecond
		s.askInVain(i, 10, from)
	}
	for i := range 3 {
		s.answered(i, at+4*time.Second+time.Duration(i)*time.Millisecond)
	}
	assert.Equal(t, 1, s.result(at+5*time.Second).Outages)
	for i := range 2 {
		last := s.askInVain(0, 12, at+time.Minute*time.Duration(i+1))
		s.answered(0, last+testRTT)
		assert.Equal(t, 2+i, s.result(last+testRTT).Outages, "another one")
	}
}

// A connection may be lost after a time that it has survived before. Then Survived is a
// time that is shorter than Lost.
func TestVariesBelowLost(t *testing.T) {
	s := opened(3)
	at := 6*time.Second + 2*testRTT + 3*time.Second
	s.lastReply = at
	control := at
	last := s.askInVain(0, 12, at, func(now time.Duration) {
		if now >= control {
			s.askAndAnswer(1, now+1) // which idles for a second
			control += 1200 * time.Millisecond
		}
	})
	s.hungUp(0, last+2*time.Second)
	s.verdict = Varies
	r := s.result(last + 2*time.Second)
	assert.Equal(t, 3*time.Second+3*300*time.Millisecond, r.Lost)
	assert.Less(t, r.Survived, r.Lost)
	longest := time.Duration(0)
	for _, sample := range r.Samples {
		if sample.Outcome == Answered && sample.Idle < r.Lost {
			longest = max(longest, sample.Idle)
		}
	}
	assert.Equal(t, longest, r.Survived)
	assert.Greater(t, r.Survived, time.Second)
}

// The answer is confirmed by a second connection that is lost, which was alive after the
// first loss, while the server was there.
func TestSecondLossNeedsEvidence(t *testing.T) {
	for name, tt := range map[string]struct {
		conn    int
		probes  int
		answers bool // of another connection
		want    bool
	}{
		"lost":                  {1, 4, true, true},
		"too few probes":        {1, 3, true, false},
		"no sign of life":       {1, 4, false, false},
		"not heard of meantime": {3, 4, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(4)
			s.askAndAnswer(1, 11*time.Second) // so that they have idled for less
			s.askAndAnswer(2, 10*time.Second)
			const at = 14 * time.Second
			control := time.Duration(at)
			s.askInVain(0, 9, at, func(now time.Duration) {
				if now >= control {
					s.askAndAnswer(2, now+1)
					control += 1200 * time.Millisecond
				}
			})
			s.hungUp(0, at+4*time.Second)
			assert.NotZero(t, s.result(at+4*time.Second).Lost)
			assert.False(t, s.lostAgain(at+4*time.Second))
			s.askAndAnswer(1, at+4*time.Second+testRTT)
			s.askAndAnswer(2, at+5*time.Second)
			again := s.conns[1].since + 9*time.Second
			s.askAndAnswer(2, again-3*time.Second)
			last := s.askInVain(tt.conn, tt.probes, again)
			if tt.answers {
				s.askAndAnswer(2, last)
			}
			assert.False(t, s.lostAgain(last+time.Second), "an answer may come")
			assert.Equal(t, tt.want, s.lostAgain(last+time.Second+2*testRTT))
		})
	}
}

// A connection is given up after nine probes if no other one could tell whether the
// server is there. Else it is asked until one has told.
func TestWhenToGiveUp(t *testing.T) {
	const at = 20 * time.Second
	for name, tt := range map[string]struct {
		conns   int
		prepare func(s *search)
		want    action
	}{
		"alone": {1, func(*search) {}, hangUp},
		"beside one that can tell": {2, func(s *search) {
			s.askAndAnswer(1, at-time.Second)
		}, ask},
		"beside one that is asked, whose answer is known": {2, func(s *search) {
			s.askAndAnswer(1, at-5*time.Second)
			s.asked(1, at-time.Second, at-time.Second)
		}, ask},
		"beside one that has idled for as long": {2, func(*search) {}, hangUp},
		"beside one that is asked as well": {2, func(s *search) {
			s.asked(1, at, at)
		}, hangUp},
		"beside one that is younger": {2, func(s *search) {
			s.dialed(1, at+time.Second)
			s.accepted(1, at+time.Second, testRTT, 0)
		}, hangUp},
		"beside one that is to be hung up": {2, func(s *search) {
			s.askAndAnswer(1, at-time.Second)
			s.conns[1].discard = true
		}, hangUp},
		"its answer is known, and another one is there": {2, func(s *search) {
			s.lower, s.conns[0].isControl = 15*time.Second, true
			s.conns[1].since = 0
		}, ask},
		"its answer is known, and another one is asked": {2, func(s *search) {
			s.lower, s.conns[0].isControl = 15*time.Second, true
			s.conns[1].since = 0
			s.asked(1, at, at)
		}, ask},
		"its answer is known, and no other one is there": {2, func(s *search) {
			s.lower, s.conns[0].isControl = 15*time.Second, true
			s.dialed(1, at)
		}, hangUp},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(tt.conns)
			s.asked(0, at, at)
			tt.prepare(s)
			last := s.askInVain(0, 11, at+300*time.Millisecond)
			assert.Equal(t, tt.want, s.connStep(0, last+140*time.Millisecond).do)
		})
	}
}

// That no probe is answered is known once a new connection was accepted in the place of
// one that did not answer.
func TestNeverAnswersNeedsHandshake(t *testing.T) {
	s := newSearch(Options{Max: time.Hour, Connections: 2})
	for i := range 2 {
		s.dialed(i, 0)
		s.accepted(i, testRTT, testRTT, 0)
	}
	at := time.Second + testRTT
	s.askInVain(1, 12, at)
	last := s.askInVain(0, 12, at)
	now := last + 140*time.Millisecond
	assert.False(t, s.conclude(now))
	s.hungUp(0, now)
	s.hungUp(1, now)
	assert.False(t, s.conclude(now))
	s.dialed(0, now)
	s.accepted(0, now+testRTT, testRTT, 0)
	assert.True(t, s.conclude(now+2*time.Second))
	r := s.result(now + 2*time.Second)
	assert.Equal(t, NeverAnswers, r.Verdict)
	assert.Zero(t, r.Survived)
	assert.Zero(t, r.Outages)
	assert.Len(t, r.Samples, 2)
}
