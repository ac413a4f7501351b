package pathidle

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVerdicts(t *testing.T) {
	const s = time.Second
	outage := func(from, to time.Duration) func(time.Duration) bool {
		return func(now time.Duration) bool { return from <= now && now < to }
	}
	for name, tt := range map[string]struct {
		world   simulation
		verdict Verdict
		after   time.Duration
		least   time.Duration // that survives
		err     string
	}{
		"resets":              {simulation{limit: constant(100 * s), resets: true}, Found, 0, 90 * s, ""},
		"cuts":                {simulation{limit: constant(100 * s), cuts: true}, Found, 0, 90 * s, ""},
		"server closes":       {simulation{limit: constant(never), closes: 120 * s, closedBy: Closed}, ServerCloses, 120 * s, 90 * s, ""},
		"server resets":       {simulation{limit: constant(never), closes: 120 * s, closedBy: Reset}, ServerCloses, 120 * s, 70 * s, ""},
		"closes later":        {simulation{limit: constant(100 * s), closes: 400 * s, closedBy: Closed}, Found, 0, 90 * s, ""},
		"closes about then":   {simulation{limit: constant(100 * s), closes: 110 * s, closedBy: Closed}, ServerCloses, 110 * s, 80 * s, ""},
		"closes sooner":       {simulation{limit: constant(100 * s), closes: 90 * s, closedBy: Closed}, ServerCloses, 90 * s, 60 * s, ""},
		"at once":             {simulation{limit: constant(never), closes: s / 2, closedBy: Closed}, Incomplete, 0, 0, "the server closes new connections at once"},
		"server probes":       {simulation{limit: constant(never), sends: 15 * s}, ServerSends, 15 * s, 15 * s, ""},
		"probes later":        {simulation{limit: constant(100 * s), sends: 300 * s}, Found, 0, 90 * s, ""},
		"probes about then":   {simulation{limit: constant(100 * s), sends: 110 * s}, Found, 0, 90 * s, ""},
		"speaks incessantly":  {simulation{limit: constant(never), sends: s / 2}, ServerSends, s, s / 2, ""},
		"banner":              {simulation{limit: constant(100 * s), banner: 5 * s}, Found, 0, 90 * s, ""},
		"never answers":       {simulation{limit: constant(s / 2)}, NeverAnswers, 0, 0, ""},
		"short outage":        {simulation{limit: constant(100 * s), down: outage(125*s, 133*s)}, Found, 0, 90 * s, ""},
		"long outage":         {simulation{limit: constant(100 * s), down: outage(60*s, 300*s)}, Incomplete, 0, 30 * s, "no connection is left, and no new one can be opened: connection timed out"},
		"forgets everything":  {simulation{limit: constant(never), reboot: 300 * s}, NothingLost, 0, time.Hour, ""},
		"server goes":         {simulation{limit: constant(never), gone: 300 * s}, Incomplete, 0, 100 * s, "no connection is left, and no new one can be opened: connection timed out"},
		"server goes at once": {simulation{limit: constant(never), gone: s}, Incomplete, 0, 0, "no connection is left, and no new one can be opened: connection timed out"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{8, 4} {
				w := tt.world
				w.rtt = 20 * time.Millisecond
				search := newSearch(Options{Max: time.Hour, Connections: n})
				end, err := w.run(search, 6*time.Hour)
				assert.NoError(t, err)
				r := search.result(end)
				w.check(t, &w, search, r)
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

// twoPaths simulates a search over a path that each new connection takes with a
// probability of share %, and one that remembers for longer.
func twoPaths(t *testing.T, seed uint64, share int, short, long time.Duration) Result {
	random := rand.New(rand.NewPCG(seed, 7))
	return simulate(t, Options{}, &simulation{limit: func() time.Duration {
		if random.IntN(100) < share {
			return short
		}
		return long
	}})
}

func simulate(t *testing.T, o Options, w *simulation) Result {
	t.Helper()
	w.rtt = 20 * time.Millisecond
	o, err := o.withDefaults()
	require.NoError(t, err)
	s := newSearch(o)
	end, err := w.run(s, 100*time.Hour)
	require.NoError(t, err)
	r := s.result(end)
	w.check(t, w, s, r)
	return r
}

// Of connections that take one of two paths, all take the longer one with a
// probability of (1-p)^8, and then it is the answer: 0.4 % for one half, 17 % for a
// fifth. Else the policy keeps both paths, or there is none.
func TestTwoPaths(t *testing.T) {
	const s = time.Second
	for _, limits := range [][2]time.Duration{{12 * s, 60 * s}, {60 * s, 600 * s}, {60 * s, 90 * s}, {240 * s, 350 * s}, {350 * s, 3000 * s}} {
		for share, most := range map[int]int{50: 4, 20: 40} {
			t.Run(fmt.Sprint(limits, share), func(t *testing.T) {
				short, wrong := limits[0], 0
				for i := range uint64(150) {
					r := twoPaths(t, i, share, short, limits[1])
					assert.Contains(t, []Verdict{Found, Varies}, r.Verdict)
					c, err := r.Plan(keepalive.Target{})
					switch {
					case r.Verdict == Found && r.Survived > short:
						wrong++
					case err == nil:
						assert.Less(t, c.Idle+c.Interval, short, r)
					}
					if r.Verdict == Varies {
						assert.GreaterOrEqual(t, r.Lost, short)
						assert.Less(t, r.Survived, short)
					}
				}
				t.Logf("%d of 150 found the longer limit", wrong)
				assert.LessOrEqual(t, wrong, most)
			})
		}
	}
}

// Paths that reset a connection when they forget it do so at ages that differ, so
// that it is not taken for the age at which a server closes connections.
func TestTwoPathsThatReset(t *testing.T) {
	const s = time.Second
	for n, most := range map[int]int{1: 75, 2: 50, 8: 4, 31: 0} {
		wrong := 0
		for i := range uint64(150) {
			random := rand.New(rand.NewPCG(i, 12))
			limit := func() time.Duration { return []time.Duration{12 * s, 60 * s}[random.IntN(2)] }
			r := simulate(t, Options{Connections: n}, &simulation{limit: limit, cuts: true})
			assert.Contains(t, []Verdict{Found, Varies}, r.Verdict)
			if r.Verdict == Found && r.Survived > 12*s {
				wrong++
				continue
			}
			assert.Less(t, r.Survived, 12*s)
			assert.GreaterOrEqual(t, r.Lost, 12*s)
		}
		assert.LessOrEqual(t, wrong, most, "%d connections", n)
	}
}

// A firewall that restarts has no limit that could be found. Where it is one of two,
// the paths differ, unless it restarts before a connection has idled for long.
func TestFirewallRestarts(t *testing.T) {
	for i := range uint64(150) {
		random := rand.New(rand.NewPCG(i, 9))
		at := time.Duration(random.Int64N(int64(50 * time.Minute)))
		for _, resets := range []bool{false, true} {
			w := simulation{limit: constant(never), reboot: at, resets: resets}
			r := simulate(t, Options{}, &w)
			assert.Equal(t, NothingLost, r.Verdict, at)
			assert.Equal(t, 1, r.Outages, at)
			r = simulate(t, Options{Connections: 1}, &w)
			assert.Contains(t, []Verdict{NothingLost, Varies}, r.Verdict, at)
			w.spared = func() bool { return random.IntN(2) == 0 }
			r = simulate(t, Options{}, &w)
			assert.Contains(t, []Verdict{NothingLost, Varies}, r.Verdict, at)
		}
	}
}

// An outage is no limit, with any number of connections.
func TestOutages(t *testing.T) {
	const limit = 100 * time.Second
	for _, n := range []int{1, 2, 3, 8} {
		unclear := 0
		for i := range uint64(150) {
			random := rand.New(rand.NewPCG(i, 10))
			from := logUniform(random, time.Second, 2*limit)
			lasts := logUniform(random, time.Second, 14*time.Second)
			down := func(now time.Duration) bool { return from <= now && now < from+lasts }
			r := simulate(t, Options{Connections: n}, &simulation{limit: constant(never), down: down})
			assert.Contains(t, []Verdict{NothingLost, Varies}, r.Verdict, from, lasts)
			r = simulate(t, Options{Connections: n}, &simulation{limit: constant(limit), down: down})
			if r.Verdict != Found {
				assert.Equal(t, Varies, r.Verdict, "%v %v", from, lasts)
				unclear++
				continue
			}
			assert.Less(t, r.Survived, limit)
			assert.GreaterOrEqual(t, r.Lost, limit)
		}
		t.Logf("%d connections: %d of 150 unclear", n, unclear)
		assert.LessOrEqual(t, unclear, 150/10)
	}
}

// An outage is counted once, if it has cost a question: then as many probes went
// unanswered as make a loss, and the question was asked again.
func TestOutageIsCounted(t *testing.T) {
	const s = time.Second
	for _, n := range []int{1, 2, 8} {
		for _, lasts := range []time.Duration{2 * s, 4 * s, 9 * s} {
			for _, from := range []time.Duration{1 * s, 5 * s, 20 * s, 60 * s, 250 * s} {
				for limit, want := range map[time.Duration]Verdict{100 * s: Found, never: NothingLost} {
					w := simulation{limit: constant(limit), down: func(now time.Duration) bool { return from <= now && now < from+lasts }}
					r := simulate(t, Options{Connections: n}, &w)
					name := fmt.Sprint(n, " connections, ", from, " for ", lasts, ", limit ", limit)
					assert.Equal(t, want, r.Verdict, name)
					switch {
					case w.inVain < 9:
						assert.Zero(t, r.Outages, name)
					case w.inVain >= 12:
						assert.Equal(t, 1, r.Outages, name)
					default:
						assert.LessOrEqual(t, r.Outages, 1, name)
					}
					if want == NothingLost {
						assert.Zero(t, r.Lost, name)
						assert.Equal(t, time.Hour, r.Survived, name)
					} else {
						assert.Less(t, r.Survived, limit, name)
						assert.GreaterOrEqual(t, r.Lost, limit, name)
					}
				}
			}
		}
	}
}

// A path that ends connections at an age is told from one that forgets.
func TestEndsByAge(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8} {
		for _, resets := range []bool{false, true} {
			for i := range uint64(30) {
				random := rand.New(rand.NewPCG(i, 11))
				age := logUniform(random, 3*time.Second, time.Hour)
				r := simulate(t, Options{Connections: n}, &simulation{limit: constant(never), ages: age, resets: resets})
				if age > time.Minute*59 && r.Verdict == NothingLost {
					continue
				}
				assert.Equal(t, EndsByAge, r.Verdict, "%v, %d connections", age, n)
				assert.GreaterOrEqual(t, r.After, age)
				assert.Less(t, r.After, 2*age+time.Second)
				assert.Less(t, r.Survived, age)
				_, err := r.Plan(keepalive.Target{})
				assert.ErrorContains(t, err, "whatever the policy")
			}
		}
	}
}

// So is one that ends them so soon that the probes of a question take as long.
func TestEndsByAgeSoon(t *testing.T) {
	for _, n := range []int{1, 2, 8} {
		for _, rtt := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, time.Second} {
			for i := range uint64(30) {
				age := logUniform(rand.New(rand.NewPCG(i, 13)), time.Second, 10*time.Second)
				s := newSearch(Options{Max: time.Hour, Connections: n})
				_, err := (&simulation{limit: constant(never), ages: age, rtt: rtt}).run(s, 10*time.Minute)
				assert.NoError(t, err, "%v, round trip %v, %d connections", age, rtt, n)
				assert.Contains(t, []Verdict{EndsByAge, NeverAnswers}, s.verdict)
			}
		}
	}
}

// A server that resets connections too soon for the shorter of two paths to be measured.
func TestServerResetsBeforeThePath(t *testing.T) {
	const s = time.Second
	for i := range uint64(100) {
		random := rand.New(rand.NewPCG(i, 14))
		limit := func() time.Duration { return []time.Duration{3 * s, time.Hour}[random.IntN(2)] }
		w := simulation{limit: limit, rtt: 300 * time.Millisecond, resets: true, closes: 3668 * time.Millisecond, closedBy: Reset}
		search := newSearch(Options{Max: time.Hour, Connections: 4})
		_, err := w.run(search, 30*time.Minute)
		assert.NoError(t, err, i)
	}
}

// A search ends although nothing that it learns lasts.
func TestSearchEnds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 12))
	w := simulation{limit: func() time.Duration { return logUniform(random, time.Second, time.Hour) }, rtt: 300 * time.Millisecond,
		drops: func() bool { return random.IntN(2) == 0 }, resets: true, ages: 4 * time.Second, closes: 5 * time.Second, closedBy: Reset}
	for range 100 {
		s := newSearch(Options{Max: time.Hour, Connections: 1 + random.IntN(20)})
		_, err := w.run(s, 1000*time.Hour)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(s.samples), mostSamples+21*len(s.conns))
	}
}

// A connection that was reset, with no other one to ask, is lost once a new one in its
// place is open.
func TestHandshakeSpeaksForItsPlace(t *testing.T) {
	for place := range 3 {
		s := newSearch(Options{Max: time.Hour, Connections: 3})
		s.dialed(place, 0)
		s.accepted(place, 0, usualRTT, 0)
		s.asked(place, 2*time.Second, 2*time.Second)
		s.ended(place, 2*time.Second+usualRTT, Reset)
		require.Len(t, s.losses, 1)
		assert.False(t, s.losses[0].corroborated)
		other := (place + 1) % 3
		s.dialed(other, 3*time.Second)
		s.accepted(other, 3*time.Second, usualRTT, 0)
		assert.False(t, s.losses[0].corroborated)
		s.dialed(place, 3*time.Second)
		s.accepted(place, 3*time.Second, usualRTT, 0)
		assert.True(t, s.losses[0].corroborated, place)
	}
}

// Of three paths with equal shares the two longer ones are taken by all of eight
// connections with a probability of (2/3)^8, 4 %. Else the policy keeps the shortest.
func TestThreePaths(t *testing.T) {
	limits := []time.Duration{time.Minute, 3 * time.Minute, 10 * time.Minute}
	wrong := 0
	for i := range uint64(300) {
		random := rand.New(rand.NewPCG(i, 13))
		r := simulate(t, Options{}, &simulation{limit: func() time.Duration { return limits[random.IntN(3)] }})
		c, err := r.Plan(keepalive.Target{})
		if err == nil && c.Idle+c.Interval >= limits[0] {
			wrong++
		}
	}
	t.Logf("%d of 300 policies lose the shortest path", wrong)
	assert.LessOrEqual(t, wrong, 300*6/100)
}

// A search ends where one connection is lost just after the others have survived Max.
func TestLostAboveMax(t *testing.T) {
	for seed := range uint64(300) {
		random, opened := rand.New(rand.NewPCG(seed, 14)), 0
		limit := func() time.Duration {
			opened++
			if opened == 8 {
				return 4 * time.Second
			}
			return 20 * time.Second
		}
		r := simulate(t, Options{Max: 10 * time.Second}, &simulation{limit: limit, drops: func() bool { return random.IntN(20) == 0 }})
		assert.Contains(t, []Verdict{Varies, NothingLost}, r.Verdict)
	}
}
