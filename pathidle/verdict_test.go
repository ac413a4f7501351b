package pathidle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// world is a path and a server on which more can go wrong than on a path.
type world struct {
	limit  func() time.Duration // of a new connection
	rtt    time.Duration
	resets bool // the path answers for what it has forgotten

	closes time.Duration // age at which the server closes a connection
	hangUp Outcome       // how: Closed or Reset
	cuts   bool          // the path resets connections when it forgets them
	sends  time.Duration // the server does after such a silence
	banner time.Duration // age at which the server speaks once

	down    func(now time.Duration) bool // nothing passes
	forgets time.Duration                // when the path forgets everything
	gone    time.Duration                // when the server goes away

	ends []*end
}

// end is the server's end of a connection, and what the path knows of it.
type end struct {
	open, known   bool
	opened, heard time.Duration // by the server
	spoken        bool
	limit         time.Duration
	reply         time.Duration // arrives
	replyReset    bool
}

// run is path.run for a world.
func (w *world) run(s *search, until time.Duration) (now time.Duration, err error) {
	w.ends = make([]*end, len(s.conns))
	for i := range w.ends {
		w.ends[i] = &end{reply: never}
	}
	for {
		st := s.next(now)
		i, at, happens := w.first(s)
		if st.do != wait && st.at <= at {
			i, at, happens = st.conn, st.at, nil
		} else if st.at < at { // look again
			now = st.at
			continue
		}
		if at > until {
			return now, fmt.Errorf("it goes on at %v", at)
		}
		now = max(now, at)
		w.pass(s, now)
		switch e := w.ends[i]; {
		case happens != nil:
			happens(now)
		case st.do == finish:
			return now, nil
		case st.do == dial:
			s.dialed(i)
			*e = end{reply: now + w.rtt}
		case st.do == hangUp:
			s.hungUp(i, now)
			*e = end{reply: never}
		case st.do == ask:
			s.asked(i, now, now)
			if w.isDown(now) {
				break
			}
			if e.known && e.open && e.reply == never {
				e.reply, e.replyReset = now+w.rtt, false
			} else if (!e.known && w.resets) && e.reply == never {
				e.reply, e.replyReset = now+w.rtt, true
			}
		}
	}
}

// pass lets the path forget.
func (w *world) pass(s *search, now time.Duration) {
	for i, e := range w.ends {
		if e.known && (now-s.conns[i].since >= e.limit || w.forgets != 0 && now >= w.forgets && e.opened < w.forgets) {
			e.known = false
		}
	}
}

func (w *world) isDown(now time.Duration) bool {
	return w.down != nil && w.down(now) || w.gone != 0 && now >= w.gone
}

// first returns what happens first, on which connection.
func (w *world) first(s *search) (i int, at time.Duration, happens func(time.Duration)) {
	at = never
	add := func(conn int, when time.Duration, f func(time.Duration)) {
		if when < at {
			i, at, happens = conn, when, f
		}
	}
	for i, e := range w.ends {
		c := &s.conns[i]
		if e.reply != never {
			add(i, e.reply, func(now time.Duration) { w.replied(s, i, now) })
		}
		if !e.open {
			continue
		}
		if w.closes != 0 {
			add(i, e.opened+w.closes, func(now time.Duration) {
				e.open = false
				if e.known && !w.isDown(now) {
					e.reply = never
					s.ended(i, now, w.hangUp)
				}
			})
		}
		if w.cuts && e.known && c.state == StateIdle {
			add(i, c.since+e.limit, func(now time.Duration) {
				e.open, e.known, e.reply = false, false, never
				s.ended(i, now, Reset)
			})
		}
		serverSends := func(now time.Duration) {
			e.heard = now
			if e.known && !w.isDown(now) {
				s.heard(i, now)
				e.reply = never
			}
		}
		if w.sends != 0 {
			add(i, e.heard+w.sends, serverSends)
		}
		if w.banner != 0 && !e.spoken {
			add(i, e.opened+w.banner, func(now time.Duration) { e.spoken = true; serverSends(now) })
		}
	}
	return i, at, happens
}

func (w *world) replied(s *search, i int, now time.Duration) {
	e := w.ends[i]
	e.reply = never
	switch {
	case s.conns[i].state == StateConnecting && w.isDown(now):
		s.refused(i, errors.New("connection timed out"))
	case s.conns[i].state == StateConnecting:
		*e = end{open: true, known: true, opened: now, heard: now, limit: w.limit(), reply: never}
		s.accepted(i, now, w.rtt, 0)
	case e.replyReset:
		s.ended(i, now, Reset)
	default:
		s.answered(i, now)
	}
}

func constant(limit time.Duration) func() time.Duration {
	return func() time.Duration { return limit }
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const s = time.Second
	outage := func(from, to time.Duration) func(time.Duration) bool {
		return func(now time.Duration) bool { return from <= now && now < to }
	}
	for name, tt := range map[string]struct {
		world   world
		verdict Verdict
		after   time.Duration
		least   time.Duration // that survives
		err     string
	}{
		"resets":              {world{limit: constant(100 * s), resets: true}, Found, 0, 90 * s, ""},
		"cuts":                {world{limit: constant(100 * s), cuts: true}, Found, 0, 90 * s, ""},
		"server closes":       {world{limit: constant(never), closes: 120 * s, hangUp: Closed}, ServerCloses, 120 * s, 90 * s, ""},
		"server resets":       {world{limit: constant(never), closes: 120 * s, hangUp: Reset}, ServerCloses, 120 * s, 70 * s, ""},
		"closes later":        {world{limit: constant(100 * s), closes: 400 * s, hangUp: Closed}, Found, 0, 90 * s, ""},
		"closes about then":   {world{limit: constant(100 * s), closes: 110 * s, hangUp: Closed}, ServerCloses, 110 * s, 80 * s, ""},
		"closes sooner":       {world{limit: constant(100 * s), closes: 90 * s, hangUp: Closed}, ServerCloses, 90 * s, 60 * s, ""},
		"at once":             {world{limit: constant(never), closes: s / 2, hangUp: Closed}, Incomplete, 0, 0, "the server closes new connections at once"},
		"server probes":       {world{limit: constant(never), sends: 15 * s}, ServerSends, 15 * s, 15 * s, ""},
		"probes later":        {world{limit: constant(100 * s), sends: 300 * s}, Found, 0, 90 * s, ""},
		"probes about then":   {world{limit: constant(100 * s), sends: 110 * s}, Found, 0, 90 * s, ""},
		"speaks incessantly":  {world{limit: constant(never), sends: s / 2}, ServerSends, s, s / 2, ""},
		"banner":              {world{limit: constant(100 * s), banner: 5 * s}, Found, 0, 90 * s, ""},
		"never answers":       {world{limit: constant(s / 2)}, NeverAnswers, 0, 0, ""},
		"short outage":        {world{limit: constant(100 * s), down: outage(125*s, 133*s)}, Found, 0, 90 * s, ""},
		"long outage":         {world{limit: constant(100 * s), down: outage(60*s, 300*s)}, Incomplete, 0, 30 * s, "no connection is left, and no new one can be opened: connection timed out"},
		"forgets everything":  {world{limit: constant(never), forgets: 300 * s}, NothingLost, 0, time.Hour, ""},
		"server goes":         {world{limit: constant(never), gone: 300 * s}, Incomplete, 0, 100 * s, "no connection is left, and no new one can be opened: connection timed out"},
		"server goes at once": {world{limit: constant(never), gone: s}, Incomplete, 0, 0, "no connection is left, and no new one can be opened: connection timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{8, 4} {
				w := tt.world
				w.rtt = 20 * time.Millisecond
				search := newSearch(Options{Max: time.Hour, Connections: n})
				end, err := w.run(search, 6*time.Hour)
				assert.NoError(t, err)
				r := search.result(end)
				assert.Equal(t, tt.verdict, r.Verdict, r)
				assert.InDelta(t, tt.after.Seconds(), r.After.Seconds(), 1, r)
				assert.GreaterOrEqual(t, r.Survived, tt.least)
				if tt.err != "" {
					assert.EqualError(t, search.err, tt.err)
				} else {
					assert.NoError(t, search.err)
				}
				if r.Verdict == Found {
					assert.GreaterOrEqual(t, r.Lost, 100*s)
					assert.LessOrEqual(t, r.Lost-r.Survived, search.allowed())
				}
				t.Log(r, end)
			}
		})
	}
}

// Half the connections take a path that forgets sooner.
func TestVaries(t *testing.T) {
	t.Parallel()
	short := 0
	for i := range uint64(100) {
		random := rand.New(rand.NewPCG(i, 3))
		w := world{rtt: 20 * time.Millisecond, limit: func() time.Duration {
			if random.IntN(2) == 0 {
				return time.Minute
			}
			return 10 * time.Minute
		}}
		s := newSearch(Options{Max: time.Hour, Connections: 8})
		end, err := w.run(s, 6*time.Hour)
		assert.NoError(t, err)
		r := s.result(end)
		if r.Verdict == Varies {
			assert.GreaterOrEqual(t, r.Lost, time.Minute)
			assert.Less(t, r.Survived, r.Lost)
		}
		if r.Lost < 5*time.Minute {
			short++
		}
	}
	assert.Greater(t, short, 90, "the shorter time is the one that matters")
}
