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

	// replyTimeout, and two round trips, is how long an answer may take.
	replyTimeout = time.Second

	// controlInterval is the time between control questions. Their answer is
	// known, since the connection has idled for less than the longest time
	// that survived. They are asked while another question is in doubt, and
	// tell a network that is down from a path that forgets.
	controlInterval = time.Second

	// lateness is by how much a question may be.
	lateness = 100 * time.Millisecond

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
	place        int           // of the connection
	probes       []probe       // of a reset one, as many as it takes
	corroborated bool          // the network was up, and the path knew other connections
	alone        bool          // there was no control question to ask
	reset        bool          // the path has answered
	unasked      bool          // it was reset without being asked
	opened       time.Duration // when
	since        time.Duration // when its last segment passed
	survived     time.Duration // the longest idle time that it had survived
}

// age is that of the connection when the question was asked that it did not answer.
func (l loss) age() time.Duration { return l.probes[0].at - l.opened }

// thresholds returns how many probes have to go unanswered for a connection to count
// as lost, and how many, of all connections, at an idle time or sooner for that
// to count as lost.
//
// Where 1 % of the probes go unanswered by chance, 4 in a row do in 0.00002 of all
// cases, and 9 practically never. Where a tenth of the packets is dropped in each
// direction, 8 do in 0.0002, and 12 in 0.000005 (TestChance).
func (s *search) thresholds() (confirming, placing int) {
	if s.lost*16 > s.acked { // more than 1 in 17
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
	if !s.hasControl(i, now) && (!c.isControl || !s.hasOthers(i)) {
		confirming, _ := s.thresholds()
		return len(c.probes) >= confirming
	}
	return s.isCorroborated(c.probes)
}

// isCorroborated reports whether the probes are enough for a loss.
func (s *search) isCorroborated(probes []probe) bool {
	confirming, _ := s.thresholds()
	for _, p := range probes {
		if p.corroborated {
			confirming--
		}
	}
	return confirming <= 0
}

// hasControl reports whether a connection other than i can be asked a control
// question. One that was opened since i was asked does not tell what the path knew.
func (s *search) hasControl(i int, now time.Duration) bool {
	since := now
	if asked := &s.conns[i]; asked.state == StateAsked {
		since = asked.probes[0].at
	}
	for j := range s.conns {
		if c := &s.conns[j]; j != i && c.opened < since && (c.isControl || s.canBeControl(c, now)) {
			return true
		}
	}
	return false
}

// hasOthers reports whether a connection other than i is open.
func (s *search) hasOthers(i int) bool {
	for j := range s.conns {
		if c := &s.conns[j]; j != i && (c.state == StateIdle || c.state == StateAsked) {
			return true
		}
	}
	return false
}

func (s *search) canBeControl(c *conn, now time.Duration) bool {
	return c.state == StateIdle && !c.discard && max(now-c.since, shortest)+lateness < s.lower
}

// controlStep returns the next control question. The connection that has idled the
// least is of the least use otherwise.
func (s *search) controlStep(now time.Duration) step {
	best, since := -1, s.doubtSince(now)
	for i := range s.conns {
		c := &s.conns[i]
		if c.isControl && !c.doubtful(now) {
			return step{at: never} // one is being asked
		}
		if s.canBeControl(c, now) && c.opened < since && (best < 0 || c.since > s.conns[best].since) {
			best = i
		}
	}
	if best < 0 {
		return step{at: never}
	}
	return step{do: ask, conn: best, at: max(s.conns[best].since+shortest, s.control+controlInterval)}
}

// doubtSince returns when the first probe was sent for which signs of life are
// needed, or never.
func (s *search) doubtSince(now time.Duration) time.Duration {
	since := never
	for _, l := range s.losses {
		if !l.alone && !l.corroborated {
			since = min(since, l.probes[0].at)
		}
	}
	for i := range s.conns {
		if c := &s.conns[i]; c.doubtful(now) && !s.enough(i, now) {
			since = min(since, c.probes[0].at)
		}
	}
	return since
}

// allReset reports whether the path has reset a connection that it should know, and
// nobody is left who could tell whether it still knows any.
func (s *search) allReset(now time.Duration) bool {
	for _, l := range s.losses {
		p := l.probes[0]
		if !l.reset || l.alone || l.corroborated || p.most > s.lower {
			continue
		}
		left := slices.ContainsFunc(s.conns, func(c conn) bool {
			return c.opened < p.at && (c.isControl || s.canBeControl(&c, now))
		})
		if !left {
			return true
		}
	}
	return false
}

// corroborate notes a sign of life, from a connection that was opened at that time.
// A handshake is only one for the connection that was hung up before it, where there
// was no control question: it does not show that the path still knows the others.
func (s *search) corroborate(place int, now, opened time.Duration, handshake bool) {
	s.lastReply = now
	for i := range s.conns {
		c := &s.conns[i]
		for j := range c.probes {
			if p := &c.probes[j]; p.at >= now-c.window() {
				p.corroborated = true
			}
		}
	}
	for i := range s.losses {
		l := &s.losses[i]
		known := !handshake && (l.alone || opened < l.probes[0].at) || handshake && l.alone && l.place == place
		l.corroborated = l.corroborated || known && (l.reset || now <= s.afterwards(l))
	}
}

// afterwards returns until when a sign of life counts for the last probe of a loss: it
// was sent before the next probe would have been, or hardly later.
func (s *search) afterwards(l *loss) time.Duration {
	const late = 700 * time.Millisecond
	c := conn{rtt: s.rtt()}
	return l.probes[len(l.probes)-1].at + c.spacing() + c.rtt + late
}

// isCertain reports whether a loss counts. Where a handshake speaks for it, one that
// began before and is not complete may still speak against it.
func (s *search) isCertain(l loss) bool {
	return l.corroborated && !(l.alone && slices.ContainsFunc(s.conns, func(c conn) bool {
		return c.state == StateConnecting && c.opened <= s.afterwards(&l)
	}))
}

// dropLosses forgets the losses that an outage may be the reason of: packets of a
// handshake got lost in that time, or none came soon enough, and there was no control
// question.
func (s *search) dropLosses(from, to time.Duration) {
	before := len(s.losses)
	s.losses = slices.DeleteFunc(s.losses, func(l loss) bool {
		down := from < to && l.probes[0].at <= to && s.afterwards(&l) >= from
		return l.alone && !l.reset && (down || !l.corroborated && to > s.afterwards(&l))
	})
	if len(s.losses) < before {
		s.noteOutage(from, to)
	}
}

// noteOutage counts an outage, once.
func (s *search) noteOutage(from, to time.Duration) {
	if from >= s.outageEnd {
		s.outages++
	}
	s.outageEnd = max(s.outageEnd, to)
}

// unanswered calls f with the probes that went unanswered, or seem to, after a
// longer time than survived.
func (s *search) unanswered(now time.Duration, f func(probe)) {
	visit := func(probes []probe, corroborated bool) {
		for _, p := range probes {
			if p.most > s.lower {
				p.corroborated = p.corroborated || corroborated
				f(p)
			}
		}
	}
	for _, l := range s.losses {
		visit(l.probes, s.isCertain(l))
	}
	for i := range s.conns {
		if c := &s.conns[i]; c.doubtful(now) && !c.isControl {
			visit(c.probes, false)
		}
	}
}

// tentativeBound is the shortest idle time that seems to be lost, or never.
func (s *search) tentativeBound(now time.Duration) time.Duration {
	least := never
	s.unanswered(now, func(p probe) { least = min(least, p.most) })
	return least
}

// confirmedBound is the shortest idle time that is certain to be lost, or never.
func (s *search) confirmedBound(now time.Duration) time.Duration {
	confirming, placing := s.thresholds()
	var room [8]time.Duration
	least, count := room[:0], 0
	s.unanswered(now, func(p probe) {
		if !p.corroborated || now < p.deadline {
			return
		}
		count++
		if i, _ := slices.BinarySearch(least, p.most); i < placing {
			least = slices.Insert(least[:min(len(least), placing-1)], i, p.most)
		}
	})
	if count < confirming {
		return never
	}
	return least[placing-1]
}

// neverAnswers reports whether nobody has answered a probe, while new connections
// were accepted.
func (s *search) neverAnswers(now time.Duration) bool {
	return len(s.losses) > 0 && s.opened > s.losses[0].probes[0].at && s.confirmedBound(now) != never
}

// findContradiction reports whether a connection was lost after a time that another
// one has survived. If it was reset without being asked, the reason may be its age.
func (s *search) findContradiction(now time.Duration) bool {
	_, placing := s.thresholds()
	for _, l := range s.losses {
		if !s.isCertain(l) || l.probes[placing-1].most > s.lower {
			continue
		}
		if !l.unasked || !s.mayCloseAt(l.age()) {
			return true
		}
		s.serverCloses(now, l.age())
		return s.findContradiction(now)
	}
	return false
}
