package policy

import "time"

// A Flight is the data in flight of a connection at some time.
type Flight struct {
	Outstanding bool          // data or a FIN is unacknowledged or unsent
	Probing     bool          // all of it is unsent, since the window is closed
	Unanswered  uint8         // retransmissions or zero-window probes; wraps
	SinceHeard  time.Duration // from the peer
	Timeout     time.Duration // in which an answer would arrive
}

// A Silence is how long a peer has left data in flight unanswered. It begins when
// that is first observed. Only the time until the last new retransmission counts,
// and none for which nothing was observed: a machine that was paused has neither
// asked nor listened.
type Silence struct {
	observed time.Time // last
	since    time.Time // zero while nothing is unanswered
	asked    time.Time // when the last retransmission was observed
	count    uint8     // of retransmissions by then
	answered uint8     // of count; keepalive's probes are among them
	inFlight bool
}

// enough is how many retransmissions go unanswered before a peer is given up.
const enough = 3

// Start begins to observe a connection that may have nothing in flight.
func (s *Silence) Start(now time.Time) { *s = Silence{observed: now} }

// Observe notes the data in flight. It returns true once the peer has been silent
// for limit. A longer time than limit/2 since the last call is taken for a pause.
func (s *Silence) Observe(now time.Time, f Flight, limit time.Duration) bool {
	gap := now.Sub(s.observed)
	s.observed = now
	if !f.Outstanding {
		s.Start(now)
		return false
	}
	if !s.inFlight && f.Probing {
		s.answered = f.Unanswered
	}
	s.inFlight = true
	if f.Unanswered < s.count { // it counts anew
		s.answered = 0
	}
	heard := now.Add(-f.SinceHeard).After(s.since)
	switch {
	case f.Unanswered == 0:
		s.since, s.count, s.answered = time.Time{}, 0, 0
		return false
	case s.since.IsZero():
		s.since, s.asked = now, now
	case heard:
		s.since, s.asked, s.answered = now, now, f.Unanswered
	case gap > limit/2:
		s.pause(gap, limit)
	case f.Unanswered != s.count:
		s.asked = now
	}
	s.count = f.Unanswered
	return s.asked.Sub(s.since) >= limit && s.count-s.answered >= enough && now.Sub(s.asked) >= f.Timeout
}

// pause leaves out gap, in which nothing was observed. A peer is given up only after
// another retransmission.
func (s *Silence) pause(gap, limit time.Duration) {
	silent := min(s.asked.Sub(s.since), limit-1)
	s.since = s.since.Add(gap)
	s.asked = s.since.Add(silent)
}
