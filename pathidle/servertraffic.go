package pathidle

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// serverTraffic is what the server says by itself.
type serverTraffic struct {
	began, last time.Duration // when it last began to speak, and its last segment
	pause       time.Duration // from one beginning to the next
	times       int
}

const (
	// settleTime is how long a server may have something to say after it has
	// accepted a connection, and how close its words are together.
	settleTime = time.Second

	// A server that speaks incessantly, or so many times after different
	// pauses, leaves no silence to measure.
	maxBurst  = 10 * time.Second
	maxBursts = 8
)

// heard is a segment that the server has sent by itself: data, or a probe. What
// it says after the handshake is no reason to stop, but what it says again and
// again is: the path is never silent for longer.
func (s *search) heard(i int, now time.Duration) {
	c := &s.conns[i]
	if c.state == StateAsked {
		s.answered(i, now)
		return
	}
	s.passed(i, now, Sample{Idle: now - c.since, Outcome: Heard})
	quiet := now - c.last
	c.last = now
	if quiet < settleTime {
		if now-c.began >= maxBurst {
			s.serverSends(now, settleTime)
		}
		return
	}
	pause := now - c.began
	c.times++
	if similar(pause, c.pause) || c.times >= maxBursts {
		s.serverSends(now, max(pause, c.pause))
	}
	c.began, c.pause = now, pause
}

// serverSends ends the search, unless the path forgets sooner.
func (s *search) serverSends(now, every time.Duration) {
	if s.tentativeBound(now) > every {
		s.verdict, s.after = ServerSends, every
	}
}

// similar allows for the kernel's timers, which may run 1/8 late.
func similar(a, b time.Duration) bool {
	return (a - b).Abs() <= max(250*time.Millisecond, b/8)
}

// ended is a connection that the other end, or whoever speaks for it, has closed
// or reset.
func (s *search) ended(i int, now time.Duration, how Outcome) {
	c := &s.conns[i]
	asked, age := c.state == StateAsked, now-c.opened
	sample := Sample{Idle: now - c.since, Outcome: how}
	if asked {
		sample.Idle, sample.Probes = c.probes[0].idle, len(c.probes)
	}
	s.samples = append(s.samples, sample)
	p := probe{at: now, idle: sample.Idle, most: sample.Idle, deadline: now, corroborated: !asked}
	if !asked {
		p.deadline += settleTime // others of the same age may be reset too
	}
	confirming, _ := s.thresholds()
	lost := loss{
		place: i, probes: slices.Repeat([]probe{p}, confirming), reset: true, corroborated: !asked, unasked: !asked,
		alone: !s.hasControl(i, now), opened: c.opened, since: c.since, survived: c.survived,
	}
	*c = conn{state: StateClosed, proved: max(c.proved, c.survived)}
	switch {
	case age < settleTime:
		s.refused(i, errClosedAtOnce)
	case how == Closed:
		s.lower = max(s.lower, sample.Idle)
		s.corroborate(i, now, now-age, false)
		s.hasClosed = true
		s.serverCloses(now, age)
	case asked && s.atAge(age):
		s.serverCloses(now, age) // whatever the idle time
	default:
		s.losses = append(s.losses, lost)
		if !asked && (sample.Idle <= s.lower && s.mayCloseAt(age) || s.atAge(age)) {
			s.serverCloses(now, age)
		}
	}
}

var errClosedAtOnce = errors.New("the server closes new connections at once")

// serverCloses notes that the server closes connections of that age. It does so
// although probes are answered: they reach no program.
func (s *search) serverCloses(now, age time.Duration) {
	s.closes, s.closed = min(cmp.Or(s.closes, age), age), now
	s.losses = slices.DeleteFunc(s.losses, func(l loss) bool {
		byAge := l.unasked && s.atAge(l.age())
		if byAge {
			s.byAge = append(s.byAge, l)
		}
		return byAge
	})
}

// mayCloseAt reports whether the server may reset connections of that age: none has
// answered that was older, and none was closed sooner.
func (s *search) mayCloseAt(age time.Duration) bool {
	return s.oldest <= age+settleTime && (s.closes == 0 || s.closes >= age)
}

// outlived notes that a connection of that age has answered. Then it was not their
// age for which younger ones were reset.
func (s *search) outlived(age time.Duration) {
	s.oldest = max(s.oldest, age)
	if !s.hasClosed && age > s.closes+settleTime {
		s.closes = 0
		s.losses, s.byAge = append(s.losses, s.byAge...), nil
	}
}

// atAge reports whether the server closes connections of about that age.
func (s *search) atAge(age time.Duration) bool {
	return s.closes != 0 && (age-s.closes).Abs() <= settleTime
}

// unheardAt returns when the server should have closed the connection without being
// heard, so that the path should have forgotten it.
func (s *search) unheardAt(c *conn) time.Duration {
	return max(c.opened+s.closes+settleTime, c.since+max(s.lower, shortest)) + 1
}

// unheard returns a connection that was to be closed and is still idle.
func (s *search) unheard(now time.Duration) (i int, ok bool) {
	if s.closes == 0 {
		return 0, false
	}
	for i := range s.conns {
		if c := &s.conns[i]; c.state == StateIdle && now >= s.unheardAt(c) {
			return i, true
		}
	}
	return 0, false
}

// endsBefore reports whether the server closes the connection before it can have
// idled for so long.
func (s *search) endsBefore(c *conn, idle time.Duration) bool {
	return s.closes != 0 && c.since+idle-c.opened >= s.closes
}

// hidden reports whether the server closes connections before the path can
// forget them. A new connection has shown that the server is still there.
func (s *search) hidden(now time.Duration) bool {
	if s.closes == 0 || s.opened <= s.closed {
		return false
	}
	for i := range s.conns {
		c := &s.conns[i]
		if c.state == StateAsked && !c.isControl {
			return false
		}
		if c.state == StateIdle && s.atAge(now-c.opened) {
			return false // it is about to be closed
		}
		if c.state == StateIdle && !s.hasClosed && now-c.opened > s.closes {
			return false // it may be older than any that the server leaves
		}
	}
	if _, ok := s.unheard(now); ok {
		return false
	}
	lost := s.tentativeBound(now)
	// A connection answers its first question before it can idle for so long.
	return lost == never || lost+settleTime+s.rtt()+lateness > s.closes
}
