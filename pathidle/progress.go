package pathidle

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Progress is a picture of a measurement that goes on. Times count from its
// start.
type Progress struct {
	Elapsed time.Duration

	// Left is how long the measurement is expected to go on: for a path that
	// forgets in the middle between Survived and Lost, or as long as nothing is
	// lost, Max. It is the geometric middle, since limits of seconds are as
	// frequent as those of minutes and hours.
	Left time.Duration

	// LeftMost is how long it is expected to go on at most, wherever between
	// them the path forgets.
	LeftMost time.Duration

	// Survived is the longest idle time that a connection has survived. Lost is
	// the shortest idle time that seems to be lost, which may turn out to be
	// wrong. Zero is none.
	Survived, Lost time.Duration

	// Conns are the connections, Options.Connections of them.
	Conns []Conn

	// Sample is what has just happened, or nil.
	Sample *Sample
}

// Conn is a connection that is used for the measurement.
type Conn struct {
	State State

	// Since is when the last segment was seen on the connection, by which its
	// idle time counts.
	Since time.Duration

	// Until is when it is expected to be asked next, zero if it is not, and for
	// connections after the 16th, by which Left is not estimated.
	Until time.Duration
}

// State is what a connection is doing.
type State string

const (
	StateClosed     State = "closed"     // to be opened
	StateConnecting State = "connecting" // in the handshake
	StateIdle       State = "idle"       // silent
	StateAsked      State = "asked"      // waiting for an answer
	StateDoubtful   State = "doubtful"   // waiting for longer than a round trip
	StateRefused    State = "refused"    // given up: the server allows fewer connections
)

// progress returns a picture of the search.
func (s *search) progress(now time.Duration) Progress {
	p := Progress{Elapsed: now, Survived: s.lower, Conns: make([]Conn, len(s.conns))}
	if lost := s.tentativeBound(now); lost != never {
		p.Lost = lost
	}
	left, asks := s.foresee(now)
	p.Left, p.LeftMost = left[0], slices.Max(left[:])
	for i := range s.conns {
		c := &s.conns[i]
		p.Conns[i] = Conn{State: c.state, Since: c.since}
		if i < len(asks) {
			p.Conns[i].Until = asks[i]
		}
		if c.doubtful(now) {
			p.Conns[i].State = StateDoubtful
		}
	}
	return p
}

// foresee returns how long the search may go on, for paths that forget in the middle
// between the time that survived and the one that seems to be lost, soon after the
// one, and soon before and after the other, and when each connection is asked next on
// the first. The search waits for it, and it takes time with the third power of the
// number of connections, so that it leaves out those after the 16th.
func (s *search) foresee(now time.Duration) (left [4]time.Duration, asks []time.Duration) {
	rtt := cmp.Or(s.rtt(), usualRTT)
	from, to := max(s.lower, shortest), s.tentativeBound(now)
	if to == never {
		to = max(from, s.max)
	}
	middle := time.Duration(math.Sqrt(float64(from) * float64(to)))
	for i, limit := range [...]time.Duration{middle + 1, from + 1, max(from+1, to-1), to + 1} {
		c := s.clone()
		c.conns = c.conns[:min(len(c.conns), 16)]
		end, when := c.run(&idlePath{limit: limit, rtt: rtt}, now)
		left[i] = end - now
		if i == 0 {
			asks = when
		}
	}
	return left, asks
}
