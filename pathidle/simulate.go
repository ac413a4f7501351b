package pathidle

import "time"

// usualRTT is for a path that nobody has measured yet.
const usualRTT = 50 * time.Millisecond

// path is a path without sockets, on which a search can be tried out.
type path struct {
	limit time.Duration // after which it forgets
	rtt   time.Duration
	drops func() bool // whether a probe, or its answer, is dropped; nil is never
}

// run lets s go on at a time, until it ends. It returns when that is, and when
// each connection was asked first, zero for never.
func (p path) run(s *search, now time.Duration) (end time.Duration, asks []time.Duration) {
	asks = make([]time.Duration, len(s.conns))
	replies := make([]time.Duration, len(s.conns)) // when they arrive, or never
	for i := range s.conns {
		replies[i] = never
		c := &s.conns[i]
		if c.state == StateConnecting || c.state == StateAsked && c.probes[0].idle < p.limit {
			replies[i] = now + p.rtt
		}
	}
	for {
		st := s.next(now)
		i, at := st.conn, st.at
		reply := false
		for j, t := range replies {
			if t < at || t == at && t != never && st.do == wait {
				i, at, reply = j, t, true
			}
		}
		if at == never { // nothing happens by itself
			return now, asks
		}
		now = at
		switch {
		case reply:
			replies[i] = never
			if s.conns[i].state == StateConnecting {
				s.accepted(i, now, p.rtt, 0)
			} else {
				s.answered(i, now)
			}
		case st.do == finish:
			return now, asks
		case st.do == dial:
			s.dialed(i)
			replies[i] = now + p.rtt
		case st.do == hangUp:
			s.hungUp(i, now)
			replies[i] = never
		case st.do == ask:
			s.asked(i, now, now)
			if asks[i] == 0 {
				asks[i] = now
			}
			if p.knows(&s.conns[i]) && replies[i] == never {
				replies[i] = now + p.rtt
			}
		}
	}
}

// knows reports whether the path lets the last probe pass, and the answer.
func (p path) knows(c *conn) bool {
	return c.probes[len(c.probes)-1].idle < p.limit && (p.drops == nil || !p.drops())
}
