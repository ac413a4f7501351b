package pathidle

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// search decides which connection is asked when, and what the answers mean. It
// knows neither sockets nor a clock: times count from the start.
//
// The connections idle side by side and are asked in turn, the one first that
// has idled the longest, after times that grow. Each idles again once it has
// answered, so that they have idled for different times when the first one is
// lost. Those that have done so for a time between the longest that survived and
// the shortest that was lost are asked at once, the others when they get there.
// Once these two times are close, all connections idle once more to confirm them.
//
// evidence.go has what counts as lost, confirm.go how an answer is confirmed,
// contradiction.go what follows where it is not, and servertraffic.go what the
// server does by itself.
type search struct {
	max       time.Duration
	precision time.Duration // 0 is 5 %

	conns   []conn
	lower   time.Duration // the longest idle time that did
	losses  []loss
	samples []Sample

	lastReply time.Duration // when the server was last known to be there
	control   time.Duration // when a question was last asked whose answer is known
	acked     int           // probes and handshakes that were answered
	lost      int           // and those that were not, by chance

	opened time.Duration // when a connection last was
	oldest time.Duration // the greatest age at which one has answered, since the last restart

	restarts  int
	outages   int
	outageEnd time.Duration // of the last one
	failed    *ageRange     // of a restart, until a new connection tells its cause
	forgotAll []ageRange    // ages at which the path had forgotten all connections

	closes    time.Duration // the age at which the server closes or resets connections, or 0
	closed    time.Duration // when it last did so
	hasClosed bool          // it has closed one, which no path does
	byAge     []loss        // those that it seems to have reset

	verdict Verdict // once it is over
	after   time.Duration
	err     error
}

const (
	// growth is by how much the idle time of a connection grows from one
	// question to the next. All of them together ask at times that grow by
	// its root, 1.31 for 8 connections, and by growthMost at most.
	growth     = 8.5
	growthMost = 2

	maxRestarts = 3

	// mostSamples, and 20 of each connection, are far more than any search has
	// that comes to an end.
	mostSamples = 1000

	never = time.Duration(math.MaxInt64)
)

// conn is a connection, or a place for one.
type conn struct {
	state   State         // never StateDoubtful
	discard bool          // to be hung up, or not to be used once it is open
	opened  time.Duration // when
	since   time.Duration // when the last segment passed, in either direction
	rtt     time.Duration
	serverTraffic

	tried     bool          // it has answered
	survived  time.Duration // the longest idle time that this connection has
	proved    time.Duration // and that an earlier one in this place has
	probes    []probe       // of the question that is asked
	isControl bool          // a longer idle time has survived, on this connection or another
}

func newSearch(o Options) *search {
	s := &search{max: o.Max, precision: o.Precision, conns: make([]conn, o.Connections)}
	for i := range s.conns {
		s.conns[i].state = StateClosed
	}
	return s
}

// clone returns a search that goes on by itself, before s does. What it appends lies
// beyond the end of the slices of s.
func (s *search) clone() *search {
	c := *s
	c.conns = slices.Clone(s.conns)
	for i := range c.conns {
		c.conns[i].probes = slices.Clone(c.conns[i].probes)
	}
	c.losses = slices.Clone(s.losses)
	return &c
}

// step is what is to be done, and when.
type step struct {
	do   action
	conn int
	at   time.Duration
}

type action int

const (
	wait action = iota
	dial
	ask // send a probe, the first of a question or a further one
	hangUp
	finish
)

// next returns what is to be done first, after all that has happened until now.
func (s *search) next(now time.Duration) step {
	if s.conclude(now) {
		return step{do: finish, at: now}
	}
	if s.allReset(now) {
		s.fail(now)
	}
	first := step{at: never}
	for i := range s.conns {
		if st := s.connStep(i, now); st.at < first.at {
			first = st
		}
	}
	for _, l := range s.losses {
		if deadline := l.probes[0].deadline; now < deadline && deadline < first.at {
			first = step{at: deadline}
		}
	}
	if st := s.probeStep(now); st.at < first.at {
		first = st
	}
	if first.at == never && !slices.ContainsFunc(s.conns, func(c conn) bool { return c.state == StateConnecting }) {
		s.err = errors.New("no question is left")
		return step{do: finish, at: now}
	}
	return first
}

// conclude decides the verdict, and reports whether there is one.
func (s *search) conclude(now time.Duration) bool {
	switch {
	case s.verdict != Incomplete || s.err != nil:
	case len(s.samples) > mostSamples+20*len(s.conns):
		s.err = fmt.Errorf("no lasting answer after %d questions", len(s.samples))
	case s.findContradiction(now):
		return s.concludeContradiction(now)
	case s.lower == 0 && s.neverAnswers(now):
		s.verdict = NeverAnswers
	case s.isConfirmed(now):
		s.verdict = Found
	case s.neverOutlives(now):
		s.verdict, s.after = EndsByAge, s.leastLossAge()
	case s.lower >= s.max && s.proved() >= s.max/2 && s.tentativeBound(now) == never:
		s.verdict = NothingLost
	case s.hidden(now):
		s.verdict, s.after = ServerCloses, s.closes
	default:
		return false
	}
	return true
}

// connStep returns what a connection needs by itself.
func (s *search) connStep(i int, now time.Duration) step {
	c := &s.conns[i]
	switch {
	case c.state == StateClosed:
		return step{do: dial, conn: i, at: now}
	case c.discard && c.state != StateConnecting:
		return step{do: hangUp, conn: i, at: now}
	case c.state == StateIdle && !c.tried:
		// The last segment of the handshake may have got lost. Then the path
		// may wait for it for another time than it remembers connections.
		return step{do: ask, conn: i, at: c.since + shortest}
	case c.state == StateIdle && s.closes != 0 && now < s.unheardAt(c):
		return step{at: s.unheardAt(c)}
	case c.state != StateAsked:
		return step{at: never}
	}
	last, enough := c.probes[len(c.probes)-1], s.enough(i, now)
	again := step{do: ask, conn: i, at: last.at + c.spacing()}
	switch {
	case c.isControl && !enough && len(c.probes) >= 12 && now >= c.probes[0].at+outage:
		s.fail(now)
		return step{at: now}
	case !enough:
		return again
	case !s.isCorroborated(c.probes):
		// The handshake that follows is to show that the network was up. It
		// has to come soon after the last probe.
		confirming, _ := s.thresholds()
		if deadline := c.probes[confirming-1].deadline; now < deadline {
			return earlier(again, step{at: deadline})
		}
	case now < last.deadline:
		return step{at: last.deadline}
	}
	return step{do: hangUp, conn: i, at: now}
}

// probeStep returns the next probe. It waits for the answer to the one before, but
// not for one that should have arrived, or that is certain not to.
func (s *search) probeStep(now time.Duration) step {
	first := step{at: never}
	if s.doubtSince(now) != never {
		first = s.controlStep(now)
	}
	lost := s.confirmedBound(now)
	for i := range s.conns {
		if c := &s.conns[i]; c.state == StateAsked && !c.isControl && !c.doubtful(now) && c.probes[0].idle <= lost {
			return first
		}
	}
	if st := s.searchStep(now); st.at < first.at {
		return st
	}
	return first
}

// searchStep returns the probe that brings the search on.
func (s *search) searchStep(now time.Duration) step {
	if i, ok := s.unheard(now); ok {
		return step{do: ask, conn: i, at: now}
	}
	if i, ok := s.overdue(now); ok && !s.isCandidate(now) && !s.findContradiction(now) {
		return step{do: ask, conn: i, at: now}
	}
	lost, targetWidth := s.tentativeBound(now), s.targetWidth()
	width := lost - s.lower
	switch {
	case s.findContradiction(now):
		return s.contradictionStep(now)
	case s.isCandidate(now):
		return s.confirmStep(now)
	case lost == never && s.lower >= s.max:
		return s.provingStep(now, s.max/2)
	case lost == never:
		return s.choose(now, s.target(), never)
	case width <= targetWidth:
		// Another connection that is lost makes certain what seems to be.
		return s.choose(now, lost, max(lost, s.lower+s.allowed()))
	case width <= 4*targetWidth:
		// The connection that is asked next has idled for less. If this one
		// is lost, it is asked soon. So ask this one as late as leaves
		// nothing more to ask if it is not.
		return s.choose(now, max(lost-width/2, lost-targetWidth), lost)
	default:
		return s.choose(now, lost-width/2, lost)
	}
}

// overdue returns a connection that has idled for longer than is certain to be lost.
// One in its place can begin to idle at once.
func (s *search) overdue(now time.Duration) (i int, ok bool) {
	lost := s.confirmedBound(now)
	for i := range s.conns {
		if c := &s.conns[i]; lost != never && c.canBeAsked() && now-c.since > lost {
			return i, true
		}
	}
	return 0, false
}

// choose returns the question that comes soonest of those that are asked after
// an idle time between least and most. Of connections that have idled for so long
// already it takes the one nearest to least. Where all have idled for longer than
// most, it asks the one nearest to most.
func (s *search) choose(now, least, most time.Duration) step {
	best, bestIdle := step{at: never}, never
	for i := range s.conns {
		c := &s.conns[i]
		if c.state != StateIdle || c.discard || !c.tried || s.endsBefore(c, least) {
			continue
		}
		st := step{do: ask, conn: i, at: max(now, c.since+max(least, shortest))}
		idle := now - c.since
		switch {
		case (idle > most) != (bestIdle > most):
			if idle > most {
				continue
			}
		case st.at != best.at:
			if st.at > best.at {
				continue
			}
		case idle > bestIdle:
			continue
		}
		best, bestIdle = st, idle
	}
	return best
}

// target is the next idle time while nothing is lost.
func (s *search) target() time.Duration {
	factor := min(growthMost, math.Pow(growth, 1/float64(len(s.conns))))
	return min(s.max, max(time.Duration(float64(s.lower)*factor), s.lower+s.allowed()))
}

// allowed is how far apart the times that survived and that are lost may be. It is at
// most the time that survived, so that each connection has to survive one of that
// order.
func (s *search) allowed() time.Duration {
	if s.precision != 0 {
		return min(s.precision, max(time.Second, s.lower))
	}
	return max(time.Second, s.lower/20)
}

// targetWidth is how far apart the times that survived and that seem to be lost may
// be. What is certain to be lost is longer by the time between some probes of one
// connection, or less with those of several.
func (s *search) targetWidth() time.Duration {
	_, placing := s.thresholds()
	spread := time.Duration(placing-1) * (&conn{rtt: s.rtt()}).spacing()
	return max(s.candidateWidth()-spread, s.allowed()/2)
}

// rtt is that of the slowest connection.
func (s *search) rtt() (rtt time.Duration) {
	for i := range s.conns {
		rtt = max(rtt, s.conns[i].rtt)
	}
	return rtt
}

// dialed is a connection that is being opened.
func (s *search) dialed(i int, now time.Duration) {
	s.conns[i] = conn{state: StateConnecting, opened: now, proved: s.conns[i].proved}
}

// accepted is a connection that was opened, with so many retransmissions.
func (s *search) accepted(i int, now, rtt time.Duration, resent int) {
	dialed := s.conns[i].opened
	s.conns[i] = conn{
		state: StateIdle, discard: s.conns[i].discard, proved: s.conns[i].proved,
		opened: now, since: now, rtt: rtt,
		serverTraffic: serverTraffic{began: now, last: now},
	}
	s.opened = now
	s.acked++
	s.lost += resent
	s.tellFailure(now, resent == 0)
	if resent == 0 {
		s.corroborate(i, now, now, true)
		dialed = now
	}
	s.dropLosses(dialed, now)
}

// refused is a connection that could not be opened. That ends the search where no
// other is open or being opened. Some servers limit the connections of a client.
func (s *search) refused(i int, err error) {
	s.conns[i] = conn{state: StateRefused}
	for i := range s.conns {
		if s.conns[i].state != StateRefused {
			return
		}
	}
	s.err = err
	if s.opened != 0 && err != errClosedAtOnce {
		s.err = fmt.Errorf("no connection is left, and no new one can be opened: %w", err)
	}
}

// asked is a probe that was sent between from and now.
func (s *search) asked(i int, from, now time.Duration) {
	c := &s.conns[i]
	idle := from - c.since
	if c.state != StateAsked {
		c.state, c.isControl = StateAsked, idle <= s.lower
		if c.isControl {
			s.control = now
		}
	}
	if _, placing := s.thresholds(); len(c.probes) < placing && now-c.since > s.lower {
		c.isControl = false // one more probe may be too late
	}
	c.probes = append(c.probes, probe{
		at: now, idle: idle, most: now - c.since, deadline: now + replyTimeout + 2*c.rtt,
		corroborated: s.lastReply != 0 && now-s.lastReply <= c.window(),
	})
}

// answered is the answer to a question.
func (s *search) answered(i int, now time.Duration) {
	c := &s.conns[i]
	sample := Sample{Idle: c.probes[0].idle, Outcome: Answered, Probes: len(c.probes)}
	if sample.Probes == 1 { // else nobody knows which one was answered: Karn's algorithm, RFC 6298
		sample.RTT = max(0, now-c.probes[0].at)
		c.rtt = max(c.rtt, sample.RTT)
	} else {
		c.began, c.last = now, now // the answers to the others may follow
	}
	if confirming, _ := s.thresholds(); sample.Probes >= confirming {
		s.noteOutage(c.probes[0].at, now)
	}
	s.acked++
	s.lost += sample.Probes - 1
	s.passed(i, now, sample)
	c.tried = true
}

// passed is a segment that the path let pass after an idle time.
func (s *search) passed(i int, now time.Duration, sample Sample) {
	c := &s.conns[i]
	s.samples = append(s.samples, sample)
	survived := sample.Idle
	if !c.tried { // the path may still have waited for the end of the handshake
		survived = min(survived, shortest+lateness)
	}
	s.lower = max(s.lower, survived)
	c.survived = max(c.survived, survived)
	if sample.Outcome == Answered {
		s.outlived(now - c.opened)
	}
	c.state, c.since, c.probes, c.isControl = StateIdle, now, nil, false
	s.corroborate(i, now, c.opened, false)
}

// hungUp is a connection that was closed at this end. Its question went
// unanswered, or all are made anew.
func (s *search) hungUp(i int, now time.Duration) {
	c := &s.conns[i]
	if !c.discard {
		s.samples = append(s.samples, Sample{Idle: c.probes[0].idle, Outcome: NoAnswer, Probes: len(c.probes)})
		corroborated := s.isCorroborated(c.probes)
		s.lose(i, loss{probes: c.probes, corroborated: corroborated, alone: !corroborated})
	}
	*c = conn{state: StateClosed, proved: max(c.proved, c.survived)}
}

// lose notes the loss of a connection, with what is known of the connection.
func (s *search) lose(i int, l loss) {
	c := &s.conns[i]
	l.place, l.opened, l.since, l.survived = i, c.opened, c.since, c.survived
	s.losses = append(s.losses, l)
}

// restart makes all connections anew.
func (s *search) restart() {
	s.losses, s.byAge, s.oldest = nil, nil, 0
	s.restarts++
	if s.restarts > maxRestarts {
		s.err = fmt.Errorf("the network has failed %d times", s.restarts)
	}
	for i := range s.conns {
		if c := &s.conns[i]; c.state != StateClosed && c.state != StateRefused {
			c.discard = true
		}
	}
}

// result is what is known.
func (s *search) result(now time.Duration) Result {
	r := Result{Verdict: s.verdict, Survived: s.lower, After: s.after, Outages: s.outages, Samples: s.samples}
	if lost := s.confirmedBound(now); lost != never {
		r.Lost = lost
	}
	switch s.verdict {
	case Found:
		r.Survived = s.proved()
		for i := range s.conns {
			if c := &s.conns[i]; c.doubtful(now) && !c.isControl {
				r.Samples = append(r.Samples, Sample{Idle: c.probes[0].idle, Outcome: NoAnswer, Probes: len(c.probes)})
			}
		}
	case Varies:
		r.Survived, r.Lost = s.leastSurvived(), s.leastLost()
		if r.Survived >= r.Lost { // one that had survived was lost later
			r.Survived = s.survivedBelow(r.Lost)
		}
	}
	return r
}

// survivedBelow is the longest idle time below a limit that a connection has survived.
func (s *search) survivedBelow(limit time.Duration) (longest time.Duration) {
	for _, sample := range s.samples {
		if sample.Idle < limit && sample.Outcome != NoAnswer && sample.Outcome != Reset {
			longest = max(longest, sample.Idle)
		}
	}
	return longest
}
