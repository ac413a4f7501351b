package pathidle

import (
	"errors"
	"fmt"
	"time"
)

// simulation is a path and a server that can do all that a search may meet.
// Its zero value forgets every connection at once, and is not useful.
type simulation struct {
	limit  func() time.Duration // idle limit of the path that a new connection takes
	rtt    time.Duration
	drops  func() bool   // whether a probe or its reply is dropped; nil is never
	resets bool          // the path resets a connection that it has forgotten when a probe arrives
	cuts   bool          // the path resets a connection when it forgets it
	ages   time.Duration // age at which the path forgets a connection, whatever passes, or 0

	slow   func(now time.Duration) time.Duration // what an answer takes beside rtt; nil is nothing
	down   func(now time.Duration) bool          // nothing passes; nil is never
	reboot time.Duration                         // when the path forgets all connections, or 0
	spared func() bool                           // whether a new connection survives the reboot; nil is no

	allows   int           // connections at once, or 0 for any number
	closes   time.Duration // age at which the server closes a connection, or 0
	closedBy Outcome       // how: Closed or Reset
	sends    time.Duration // the server sends something after such a silence, or 0
	banner   time.Duration // age at which the server sends something once, or 0
	gone     time.Duration // when the server goes away, or 0

	ends   []serverEnd
	coming arrival
	until  time.Duration // when the search has to be over
	late   bool          // it was not
	witness
}

// serverEnd is the server's end of a connection, and what the path does with it.
type serverEnd struct {
	open          bool
	known         bool // to the path
	spared        bool
	greeted       bool          // the banner was sent
	limit         time.Duration // idle limit
	opened, since time.Duration // when it was opened, and when it last sent something
	reply         time.Duration // when a reply arrives at the client, or never
	replyResets   bool
	resent        int  // segments of the handshake
	unreachable   bool // the handshake will fail
}

// arrival is what happens next without the search.
type arrival struct {
	kind arrivalKind
	conn int
	at   time.Duration
}

type arrivalKind int

const (
	reply arrivalKind = iota
	serverCloses
	pathCuts
	serverSends
	serverGreets
	timeIsUp
)

// constant is a limit that all connections share.
func constant(limit time.Duration) func() time.Duration {
	return func() time.Duration { return limit }
}

// run runs a search until it ends, and returns when that is. It returns an error if
// the search goes on at until.
func (w *simulation) run(s *search, until time.Duration) (end time.Duration, err error) {
	w.until, w.late = until, false
	end, _ = s.run(w, 0)
	w.ended = end
	if w.late {
		err = fmt.Errorf("the search goes on at %v", until)
	}
	return end, err
}

func (w *simulation) dialed(s *search, i int, now time.Duration) {
	w.forget(s, now)
	w.ends[i] = w.handshake(now)
}

func (w *simulation) hungUp(i int, now time.Duration) {
	w.witness.hungUp(i, now)
	w.ends[i] = serverEnd{reply: never}
}

// handshake sends a SYN, again and again until there is an answer, as Linux does.
func (w *simulation) handshake(now time.Duration) serverEnd {
	const s = time.Second
	open := 0
	for _, e := range w.ends {
		if e.open {
			open++
		}
	}
	if w.allows != 0 && open >= w.allows {
		return serverEnd{reply: now + w.rtt, unreachable: true}
	}
	for resent, after := range []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s} {
		dropped := resent < 3 && w.drops != nil && w.drops()
		if !w.isDown(now+after) && !dropped {
			return serverEnd{reply: now + after + w.rtt, resent: resent}
		}
	}
	return serverEnd{reply: now + 30*s, unreachable: true}
}

// resume begins anew: s has no connections.
func (w *simulation) resume(s *search, _ time.Duration) {
	w.ends = make([]serverEnd, len(s.conns))
	for i := range w.ends {
		w.ends[i].reply = never
	}
	w.begin(len(s.conns))
}

// canFail reports whether the network fails, or the path may forget all connections.
func (w *simulation) canFail() bool {
	return w.down != nil || w.gone != 0 || w.reboot != 0 || w.ages != 0 || w.drops != nil || w.closedBy == Reset
}

// forget lets the path forget what it does not know any more.
func (w *simulation) forget(s *search, now time.Duration) {
	for i := range w.ends {
		e := &w.ends[i]
		rebooted := w.reboot != 0 && now >= w.reboot && e.opened < w.reboot && !e.spared
		aged := w.ages != 0 && now-e.opened >= w.ages
		silent := e.reply == never && now-s.conns[i].since >= e.limit
		if silent || rebooted || aged {
			e.known = false
		}
	}
}

func (w *simulation) isDown(now time.Duration) bool {
	return w.down != nil && w.down(now) || w.gone != 0 && now >= w.gone
}

// asked sends a probe. A reply that is under way is not sent a second time.
func (w *simulation) asked(s *search, i int, now time.Duration) {
	w.forget(s, now)
	w.witness.asked(i, now, w.isDown(now))
	e := &w.ends[i]
	if e.reply != never || w.isDown(now) || w.drops != nil && w.drops() {
		return
	}
	if e.known && e.open || !e.known && w.resets {
		e.reply, e.replyResets = now+w.rtt, !e.known
		if w.slow != nil {
			e.reply += w.slow(now)
		}
	}
}

func (w *simulation) next(s *search) time.Duration {
	first := arrival{kind: timeIsUp, at: w.until}
	add := func(kind arrivalKind, i int, at time.Duration) {
		if at < first.at {
			first = arrival{kind, i, at}
		}
	}
	for i := range w.ends {
		e := &w.ends[i]
		add(reply, i, e.reply)
		if !e.open {
			continue
		}
		if w.closes != 0 {
			add(serverCloses, i, e.opened+w.closes)
		}
		if w.cuts && e.known && s.conns[i].state == StateIdle {
			add(pathCuts, i, s.conns[i].since+e.limit)
		}
		if w.sends != 0 {
			add(serverSends, i, e.since+w.sends)
		}
		if w.banner != 0 && !e.greeted {
			add(serverGreets, i, e.opened+w.banner)
		}
	}
	w.coming = first
	return first.at
}

func (w *simulation) happen(s *search, now time.Duration) {
	w.forget(s, now)
	a := w.coming
	i, e := a.conn, &w.ends[a.conn]
	passes := e.known && !w.isDown(now)
	switch a.kind {
	case timeIsUp:
		w.late, s.err = true, errors.New("time is up")
	case reply:
		w.replied(s, i, now)
	case serverCloses:
		e.open = false
		if passes {
			e.reply = never
			w.heard(i, now, w.closedBy)
			s.ended(i, now, w.closedBy)
		}
	case pathCuts:
		*e = serverEnd{reply: never}
		w.heard(i, now, Reset)
		s.ended(i, now, Reset)
	case serverSends, serverGreets:
		e.since, e.greeted = now, e.greeted || a.kind == serverGreets
		if passes {
			e.reply = never
			w.heard(i, now, Heard)
			s.heard(i, now)
		}
	}
}

func (w *simulation) replied(s *search, i int, now time.Duration) {
	e := &w.ends[i]
	e.reply = never
	switch {
	case e.unreachable:
		s.refused(i, errors.New("connection timed out"))
	case s.conns[i].state == StateConnecting:
		resent := e.resent
		*e = serverEnd{open: true, known: true, limit: w.limit(), opened: now, since: now, reply: never}
		e.spared = w.spared != nil && w.spared()
		w.accepted(i, now)
		s.accepted(i, now, w.rtt, resent)
	case e.replyResets:
		w.heard(i, now, Reset)
		s.ended(i, now, Reset)
	default:
		w.heard(i, now, Answered)
		s.answered(i, now)
	}
}
