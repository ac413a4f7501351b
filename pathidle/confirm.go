package pathidle

import (
	"slices"
	"time"
)

// An answer is confirmed before it is given, since those that came first may be
// wrong: of two paths only the longer one was asked, or a firewall has restarted.
//
//   - A connection in each place has to survive about as long.
//   - A connection that was seen alive after the first loss has to be lost as well.
//   - A connection has to answer that is older than one that was lost. Else the path
//     may end connections at an age, whatever passes: see contradiction.go.
//
// A connection that takes one of two paths at random takes the longer one with a
// chance of 1-p. That all do so has a chance of (1-p)^n.

// candidateWidth is how far apart the times that survived and that are lost may be
// for an answer that is to be confirmed. All connections are then asked after a time
// that is a little shorter than the one that survived on some, since times are not
// exact.
func (s *search) candidateWidth() time.Duration { return s.allowed() * 9 / 10 }

// isCandidate reports whether the answer is only to be confirmed.
func (s *search) isCandidate(now time.Duration) bool {
	return s.confirmedBound(now)-s.lower <= s.candidateWidth()
}

// isConfirmed reports whether the answer was confirmed.
func (s *search) isConfirmed(now time.Duration) bool {
	return s.proved() >= s.provingTime(now) && s.lostAgain(now) && !s.mayBeAge()
}

// provingTime is the idle time that a connection in each place has to survive.
func (s *search) provingTime(now time.Duration) time.Duration {
	return max(shortest, s.confirmedBound(now)-s.allowed())
}

// proved is the longest idle time that a connection in each place has survived.
func (s *search) proved() time.Duration {
	least := never
	for i := range s.conns {
		if c := &s.conns[i]; c.state != StateRefused {
			least = min(least, c.hasProved())
		}
	}
	return least
}

func (c *conn) hasProved() time.Duration { return max(c.proved, c.survived) }

// lostAgain reports whether a connection was lost that was alive after the first
// loss. One that is still asked counts once it has left as many probes unanswered as
// thresholds wants for an idle time.
func (s *search) lostAgain(now time.Duration) bool {
	first := s.firstLoss()
	_, placing := s.thresholds()
	return slices.ContainsFunc(s.losses, func(l loss) bool {
		return l.since >= first && s.isCertain(l) && l.probes[0].most > s.lower
	}) || slices.ContainsFunc(s.conns, func(c conn) bool {
		if c.isControl || c.since < first {
			return false
		}
		unanswered := 0
		for _, p := range c.probes {
			if p.corroborated && now >= p.deadline && p.most > s.lower {
				unanswered++
			}
		}
		return unanswered >= placing
	})
}

// confirmStep returns the question that confirms the answer.
func (s *search) confirmStep(now time.Duration) step {
	first := s.provingStep(now, s.provingTime(now))
	if !s.lostAgain(now) {
		first = earlier(first, s.loseAgainStep(now))
	}
	if first.at == never {
		first = s.outliveStep(now)
	}
	return first
}

// outliveStep returns the question to a connection that is older than one that was
// lost. The oldest one is kept alive until then.
func (s *search) outliveStep(now time.Duration) step {
	oldest, opened := step{at: never}, never
	age, proving := s.leastLossAge()+settleTime+1, s.provingTime(now)
	for i := range s.conns {
		c := &s.conns[i]
		if c.canBeAsked() && c.opened < opened {
			due := min(c.since+proving, max(c.since+shortest, c.opened+age))
			oldest, opened = step{do: ask, conn: i, at: max(now, due)}, c.opened
		}
	}
	return oldest
}

// provingStep returns the question that shows that a connection in each place
// survives the idle time. Those that have idled the least come first: they are about to
// idle for too long.
func (s *search) provingStep(now, idle time.Duration) step {
	first, since := step{at: never}, time.Duration(0)
	for i := range s.conns {
		c := &s.conns[i]
		if !c.canBeAsked() || c.hasProved() >= idle || s.endsBefore(c, idle) {
			continue
		}
		at := max(now, c.since+idle)
		if at < first.at || at == first.at && c.since > since {
			first, since = step{do: ask, conn: i, at: at}, c.since
		}
	}
	return first
}

// loseAgainStep returns the question that goes unanswered if the answer is right. It
// goes to a connection in a place that needs no other one, unless the server closes
// it too soon for two. One that was not seen alive after the first loss is asked
// sooner.
func (s *search) loseAgainStep(now time.Duration) step {
	first, lost, proving := s.firstLoss(), s.confirmedBound(now), s.provingTime(now)
	best, alive := step{at: never}, step{at: never}
	for i := range s.conns {
		c := &s.conns[i]
		proved := c.hasProved() >= proving || s.closes != 0 && s.closes < 2*lost+2*settleTime
		switch {
		case !c.canBeAsked() || !proved || s.endsBefore(c, lost):
		case c.since >= first:
			best = earlier(best, step{do: ask, conn: i, at: max(now, c.since+lost)})
		default:
			alive = earlier(alive, step{do: ask, conn: i, at: max(now, c.since+shortest)})
		}
	}
	if best.at == never {
		return alive
	}
	return best
}

// canBeAsked reports whether the connection waits for a question.
func (c *conn) canBeAsked() bool { return c.state == StateIdle && !c.discard && c.tried }

func earlier(a, b step) step {
	if b.at < a.at {
		return b
	}
	return a
}
