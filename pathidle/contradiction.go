package pathidle

import (
	"slices"
	"time"
)

// A connection may be lost after an idle time that another one has survived. Then
// the path does not forget by the idle time alone: there are several paths, its
// memory is full, or it ends connections at an age.

// An ageRange is the greatest age of connections that answered, and the least age of
// those that did not.
type ageRange struct{ alive, dead time.Duration }

// concludeContradiction decides between [Varies] and [EndsByAge], and reports
// whether it can.
func (s *search) concludeContradiction(now time.Duration) bool {
	if s.mayBeAge() {
		if s.lostByAge() == 0 {
			return false
		}
		s.verdict, s.after = EndsByAge, s.leastLossAge()
		return true
	}
	least := s.leastLostSurvived()
	for i := range s.conns {
		c := &s.conns[i]
		if c.state != StateRefused && c.survived < least && !s.endsBefore(c, least) {
			return false
		}
	}
	s.verdict = Varies
	return true
}

// contradictionStep returns the question that decides. Connections of an age that may
// be the one at which the path ends them are asked often, so that it is their age by
// which they end. Otherwise each has to survive what those that were lost had.
func (s *search) contradictionStep(now time.Duration) step {
	first := step{at: never}
	mayBeAge, least := s.mayBeAge(), s.leastLostSurvived()
	for i := range s.conns {
		c := &s.conns[i]
		if !c.canBeAsked() || !mayBeAge && c.survived >= least {
			continue
		}
		idle := least
		if mayBeAge {
			idle = s.lower / 2
		}
		first = earlier(first, step{do: ask, conn: i, at: max(now, c.since+max(idle, shortest))})
	}
	return first
}

// mayBeAge reports whether all connections that were lost were older than all that
// have answered, or about.
func (s *search) mayBeAge() bool {
	least := s.leastLossAge()
	return s.oldest <= least+settleTime && (s.closes == 0 || s.closes > least+2*settleTime)
}

// lostByAge returns how many connections that were opened after the first loss were
// lost, by their first probe, after an idle time that survives. Those do not count
// beside which a connection is left that was open then.
func (s *search) lostByAge() int {
	first, n := s.firstLoss(), 0
	for _, l := range s.losses {
		asked := l.probes[0]
		left := slices.ContainsFunc(s.conns, func(c conn) bool {
			return (c.state == StateIdle || c.state == StateAsked) && c.opened < asked.at
		})
		if l.opened >= first && l.survived != 0 && s.isCertain(l) && asked.most <= max(s.lower, shortest+lateness) && !left {
			n++
		}
	}
	return n
}

// neverOutlives reports whether no connection reaches an age at which others were lost,
// although so many were asked in time that chance is not the reason. Where the time
// between probes is not short, they do not contradict each other.
func (s *search) neverOutlives(now time.Duration) bool {
	_, placing := s.thresholds()
	return s.isCandidate(now) && s.mayBeAge() && s.lostByAge() >= placing
}

// leastOfLosses is the least of a value over the connections that were lost, or never.
func (s *search) leastOfLosses(value func(loss) time.Duration) time.Duration {
	least := never
	for _, l := range s.losses {
		least = min(least, value(l))
	}
	return least
}

// firstLoss is when the first connection that was lost was asked.
func (s *search) firstLoss() time.Duration {
	return s.leastOfLosses(func(l loss) time.Duration { return l.probes[0].at })
}

// leastLossAge is the least age at which a connection was lost.
func (s *search) leastLossAge() time.Duration { return s.leastOfLosses(loss.age) }

// leastLostSurvived is the least, over the connections that were lost, of the longest
// idle time that the connection had survived.
func (s *search) leastLostSurvived() time.Duration {
	return s.leastOfLosses(func(l loss) time.Duration { return l.survived })
}

// leastSurvived is the same over all connections.
func (s *search) leastSurvived() time.Duration {
	least := s.leastLostSurvived()
	for i := range s.conns {
		if c := &s.conns[i]; c.state == StateIdle {
			least = min(least, c.survived)
		}
	}
	return least
}

// leastLost is the shortest idle time after which a connection was lost.
func (s *search) leastLost() time.Duration {
	_, placing := s.thresholds()
	return s.leastOfLosses(func(l loss) time.Duration { return l.probes[placing-1].most })
}

// fail makes all connections anew. The path has forgotten one that it surely knew:
// the network is down, or the path has forgotten all of them, which the handshake of
// a new connection tells.
func (s *search) fail(now time.Duration) {
	failed := ageRange{alive: s.oldest, dead: s.leastLossAge()}
	for i := range s.conns {
		if c := &s.conns[i]; c.isControl && c.doubtful(now) {
			failed.dead = min(failed.dead, c.probes[0].at-c.opened)
		}
	}
	s.restart()
	s.failed = &failed
}

// tellFailure notes why all connections were made anew, as the first new one tells. A
// path that has forgotten all connections of the same age twice ends them by age.
func (s *search) tellFailure(now time.Duration, up bool) {
	failed := s.failed
	s.failed = nil
	switch {
	case failed == nil:
		return
	case !up:
		s.noteOutage(now, now)
		return
	}
	for _, e := range s.forgotAll {
		if max(e.alive, failed.alive) < min(e.dead, failed.dead) {
			s.verdict, s.after = EndsByAge, min(e.dead, failed.dead)
		}
	}
	s.forgotAll = append(s.forgotAll, *failed)
	s.noteOutage(now, now)
}
