package pathidle

import (
	"slices"
	"time"
)

// How a question is asked.
const (
	// shortest is the shortest idle time: TCP_KEEPIDLE counts in seconds.
	shortest = time.Second

	// probeInterval, and two round trips, lie between the probes of a question.
	// Linux answers one probe of a connection in half a second
	// (tcp_invalid_ratelimit of ip-sysctl.rst). Two of these are longer.
	probeInterval = 260 * time.Millisecond

	// patience, and two round trips, is how long an answer may take.
	replyTimeout = time.Second

	// controlInterval is the time between control questions. Their answer is
	// known, since the connection has idled for less than the longest time
	// that survived. They are asked while another question is in doubt, and
	// tell a network that is down from a path that forgets.
	controlInterval = time.Second

	// outage is how long a control question may go unanswered.
	outage = 10 * time.Second
)

// probe is one that went unanswered so far.
type probe struct {
	at           time.Duration // when it was sent
	idle, most   time.Duration // the silence before, at least and at most
	deadline     time.Duration // when it counts
	corroborated bool          // the server was there at about that time
}

// loss is a connection that was lost: given up here, or reset.
type loss struct {
	probes  []probe // of a reset one, as many as it takes
	alone   bool    // there was no control question to ask
	unasked bool    // it was reset without being asked
	age     time.Duration
}

// demand returns how many probes have to go unanswered for a connection to count
// as lost, and how many, of all connections, at an idle time or sooner for that
// to count as lost.
//
// Where 1 % of the probes go unanswered by chance, 4 in a row do in 0.00002 of all
// cases, and 9 practically never. Where a tenth of the packets is dropped in each
// direction, 8 do in 0.0002, and 12 in 0.000005 (TestChance).
func (s *search) thresholds() (confirming, placing int) {
	if s.lost*16 > s.acked { // 1 in 17 and more
		return 12, 8
	}
	return 9, 4
}

func (c *conn) spacing() time.Duration { return probeInterval + 2*c.rtt }

// window is how far from a sign of life a probe may be for the server to have
// been there.
func (c *conn) window() time.Duration { return replyTimeout + c.spacing() }

// doubtful reports whether the answer should have arrived.
func (c *conn) doubtful(now time.Duration) bool {
	return c.state == StateAsked && now >= c.probes[0].at+c.spacing()
}

// enough reports whether a question needs no further probe.
func (s *search) enough(i int, now time.Duration) bool {
	c := &s.conns[i]
	confirming, _ := s.thresholds()
	if c.isControl {
		return false
	}
	if !s.hasControl(i, now) {
		return len(c.probes) >= confirming
	}
	corroborated := 0
	for _, p := range c.probes {
		if p.corroborated {
			corroborated++
		}
	}
	return corroborated >= confirming
}

// hasControl reports whether a connection other than i can be asked a control
// question.
func (s *search) hasControl(i int, now time.Duration) bool {
	for j := range s.conns {
		if c := &s.conns[j]; j != i && (c.isControl || s.canBeControl(c, now)) {
			return true
		}
	}
	return false
}

func (s *search) canBeControl(c *conn, now time.Duration) bool {
	const late = 100 * time.Millisecond // whoever asks may be
	return c.state == StateIdle && !c.discard && max(now-c.since, shortest)+late < s.lower
}

// controlQuestion returns the next control question. The connection that has
// idled the least is of the least use otherwise.
func (s *search) controlStep(now time.Duration) step {
	best := -1
	for i := range s.conns {
		c := &s.conns[i]
		if c.isControl {
			return step{at: never} // one is being asked
		}
		if s.canBeControl(c, now) && (best < 0 || c.since > s.conns[best].since) {
			best = i
		}
	}
	if best < 0 {
		return step{at: never}
	}
	return step{do: ask, conn: best, at: max(s.conns[best].since+shortest, s.control+controlInterval)}
}

// inDoubt reports whether signs of life are needed.
func (s *search) inDoubt(now time.Duration) bool {
	for _, l := range s.losses {
		if !l.alone && !l.probes[0].corroborated {
			return true
		}
	}
	for i := range s.conns {
		if c := &s.conns[i]; c.doubtful(now) && !c.isControl && !s.enough(i, now) {
			return true
		}
	}
	return false
}

// prove notes a sign of life. A new connection is only one where there is no
// control question: it does not show that the path still knows the others.
func (s *search) corroborate(now time.Duration, opened bool) {
	s.lastReply = now
	for i := range s.conns {
		c := &s.conns[i]
		for j := range c.probes {
			if p := &c.probes[j]; p.at >= now-c.window() {
				p.corroborated = true
			}
		}
	}
	for _, l := range s.losses {
		for j := range l.probes {
			l.probes[j].corroborated = l.probes[j].corroborated || l.alone || !opened
		}
	}
}

// unanswered calls f with the probes that went unanswered, or seem to, after a
// longer time than survived.
func (s *search) unanswered(now time.Duration, f func(probe)) {
	visit := func(probes []probe) {
		for _, p := range probes {
			if p.most > s.lower {
				f(p)
			}
		}
	}
	for _, l := range s.losses {
		visit(l.probes)
	}
	for i := range s.conns {
		if c := &s.conns[i]; c.doubtful(now) && !c.isControl {
			visit(c.probes)
		}
	}
}

// presumed is the shortest idle time that seems to be lost, or never.
func (s *search) tentativeBound(now time.Duration) time.Duration {
	least := never
	s.unanswered(now, func(p probe) { least = min(least, p.most) })
	return least
}

// certain is the shortest idle time that is certain to be lost, or never.
func (s *search) confirmedBound(now time.Duration) time.Duration {
	var idle []time.Duration
	s.unanswered(now, func(p probe) {
		if p.corroborated && now >= p.deadline {
			idle = append(idle, p.most)
		}
	})
	confirming, placing := s.thresholds()
	if len(idle) < confirming {
		return never
	}
	slices.Sort(idle)
	return idle[placing-1]
}

// neverAnswers reports whether nobody has answered a probe, while new connections
// were accepted.
func (s *search) neverAnswers(now time.Duration) bool {
	return len(s.losses) > 0 && s.opened > s.losses[0].probes[0].at && s.confirmedBound(now) != never
}

// findContradiction reports whether a connection was lost after a time that another
// one has survived. If it was reset without being asked, the reason is not its
// idle time, but its age.
func (s *search) findContradiction(now time.Duration) bool {
	_, placing := s.thresholds()
	for _, l := range s.losses {
		if p := l.probes[placing-1]; !p.corroborated || p.most > s.lower {
			continue
		}
		if !l.unasked {
			return true
		}
		s.serverCloses(now, l.age)
		return s.findContradiction(now)
	}
	return false
}
