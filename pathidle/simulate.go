package pathidle

import (
	"slices"
	"time"
)

// usualRTT is assumed for a path that was not measured yet.
const usualRTT = 50 * time.Millisecond

// world is a path and a server without sockets, on which a search can run.
type world interface {
	resume(s *search, now time.Duration)        // takes over the connections that s has
	next(s *search) time.Duration               // when something happens without the search, or never
	happen(s *search, now time.Duration)        // lets it happen
	dialed(s *search, i int, now time.Duration) // is told of what the search has done
	asked(s *search, i int, now time.Duration)
	hungUp(i int, now time.Duration)
}

// run runs s from now until it ends. It returns when that is, and when each
// connection was probed first, zero for never.
func (s *search) run(w world, now time.Duration) (end time.Duration, probed []time.Duration) {
	probed = make([]time.Duration, len(s.conns))
	w.resume(s, now)
	for {
		st, event := s.next(now), w.next(s)
		now = max(now, min(st.at, event))
		if event < st.at || event == st.at && st.do == wait {
			w.happen(s, now)
			continue
		}
		switch i := st.conn; st.do {
		case finish:
			return now, probed
		case dial:
			s.dialed(i, now)
			w.dialed(s, i, now)
		case hangUp:
			s.hungUp(i, now)
			w.hungUp(i, now)
		case ask:
			s.asked(i, now, now)
			w.asked(s, i, now)
			if probed[i] == 0 {
				probed[i] = now
			}
		}
	}
}

// idlePath is a path that forgets connections after a limit and loses nothing else, to
// a server that answers.
type idlePath struct {
	limit, rtt time.Duration
	replies    []time.Duration // when that to each connection arrives, or never
}

func (w *idlePath) resume(s *search, now time.Duration) {
	w.replies = make([]time.Duration, len(s.conns))
	for i := range s.conns {
		w.hungUp(i, now)
		switch c := &s.conns[i]; c.state {
		case StateConnecting:
			w.dialed(s, i, now)
		case StateAsked:
			if c.probes[0].idle < w.limit {
				w.replies[i] = now + w.rtt
			}
		}
	}
}

func (w *idlePath) next(*search) time.Duration { return slices.Min(w.replies) }

func (w *idlePath) happen(s *search, now time.Duration) {
	i := slices.Index(w.replies, slices.Min(w.replies))
	w.replies[i] = never
	if s.conns[i].state == StateConnecting {
		s.accepted(i, now, w.rtt, 0)
	} else {
		s.answered(i, now)
	}
}

func (w *idlePath) dialed(_ *search, i int, now time.Duration) { w.replies[i] = now + w.rtt }

// asked sends no second reply while one is under way.
func (w *idlePath) asked(s *search, i int, now time.Duration) {
	if w.replies[i] == never && now-s.conns[i].since < w.limit {
		w.replies[i] = now + w.rtt
	}
}

func (w *idlePath) hungUp(i int, _ time.Duration) { w.replies[i] = never }
