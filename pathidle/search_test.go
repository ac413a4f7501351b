package pathidle

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The simulations don't run beside the tests on sockets, which need the processor.

// What the search takes, on two thousand paths that forget after any time from
// 5 s to 2 h and drop one probe in a hundred: 2.6 times as long as the path in
// the median, 3.9 times as long in 95 of 100 cases, and the answer is right.
func TestDurationOfSearch(t *testing.T) {
	const runs = 2000
	ratios := make([]float64, runs)
	questions := 0
	for i := range ratios {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		limit := logUniform(random, 5*time.Second, 2*time.Hour)
		s := newSearch(Options{Max: 3 * time.Hour, Connections: 8})
		p := simulation{limit: constant(limit), rtt: 20 * time.Millisecond, drops: func() bool { return random.IntN(100) == 0 }}
		end, err := p.run(s, never)
		require.NoError(t, err)
		assertFound(t, s, end, limit)
		ratios[i] = end.Seconds() / limit.Seconds()
		questions += len(s.samples)
	}
	slices.Sort(ratios)
	median, most := ratios[runs/2], ratios[runs*95/100]
	t.Logf("duration / limit: median %.2f, 95th percentile %.2f, maximum %.2f; %.0f questions",
		median, most, ratios[runs-1], float64(questions)/runs)
	assert.LessOrEqual(t, median, 2.6)
	assert.LessOrEqual(t, most, 3.9)
}

// The answer is right with any number of connections, precision, round-trip time
// and loss.
func TestSearchIsRight(t *testing.T) {
	for _, o := range []Options{
		{Connections: 1}, {Connections: 2}, {Connections: 3}, {Connections: 20},
		{Connections: 8, Precision: time.Second}, {Connections: 8, Precision: 10 * time.Second},
	} {
		for _, rtt := range []time.Duration{0, 300 * time.Millisecond, 2 * time.Second} {
			for _, dropped := range []float64{0, 0.19} {
				t.Run(fmt.Sprint(o.Connections, o.Precision, rtt, dropped), func(t *testing.T) {
					for i := range uint64(20) {
						random := rand.New(rand.NewPCG(i, 2))
						limit := logUniform(random, 3*time.Second+20*rtt, time.Hour)
						o.Max = 2 * time.Hour
						s := newSearch(o)
						p := simulation{limit: constant(limit), rtt: rtt, drops: func() bool { return random.Float64() < dropped }}
						end, err := p.run(s, never)
						require.NoError(t, err)
						assertFound(t, s, end, limit)
						assert.Less(t, end, 100*limit)
					}
				})
			}
		}
	}
}

// Precision bounds how far Survived and Lost are apart, and costs time.
func TestPrecision(t *testing.T) {
	const limit = 350 * time.Second
	var first, last time.Duration
	for _, precision := range []time.Duration{time.Second, 3 * time.Second, 10 * time.Second, 100 * time.Second} {
		s := newSearch(Options{Max: time.Hour, Precision: precision, Connections: 8})
		end, err := (&simulation{limit: constant(limit), rtt: testRTT}).run(s, time.Hour)
		require.NoError(t, err)
		assertFound(t, s, end, limit)
		r := s.result(end)
		assert.LessOrEqual(t, r.Lost-r.Survived, precision)
		first, last = cmp.Or(first, end), end
	}
	assert.Less(t, last, first*9/10)
	// It is not greater than what has survived, so that each connection has to survive.
	s := newSearch(Options{Max: time.Hour, Precision: time.Hour, Connections: 8})
	end, err := (&simulation{limit: constant(limit), rtt: testRTT}).run(s, time.Hour)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, s.result(end).Survived, limit/4)
}

func assertFound(t *testing.T, s *search, end, limit time.Duration) {
	t.Helper()
	require.NoError(t, s.err)
	r := s.result(end)
	if assert.Equal(t, Found, r.Verdict, limit) {
		assert.Less(t, r.Survived, limit)
		assert.GreaterOrEqual(t, r.Lost, limit)
		assert.LessOrEqual(t, r.Lost-r.Survived, s.allowed(), limit)
	}
}

func logUniform(random *rand.Rand, from, to time.Duration) time.Duration {
	return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), random.Float64()))
}

func TestNothingLost(t *testing.T) {
	for _, limit := range []time.Duration{time.Hour + 1, never} {
		s := newSearch(Options{Max: time.Hour, Connections: 8})
		end, err := (&simulation{limit: constant(limit)}).run(s, never)
		require.NoError(t, err)
		r := s.result(end)
		assert.Equal(t, NothingLost, r.Verdict)
		assert.Equal(t, time.Hour, r.Survived)
		assert.Zero(t, r.Lost)
		assert.Less(t, end, time.Hour*6/5)
	}
}

// How likely it is that probes go unanswered by chance, as evidence.go has it. A
// peer that has answered one does not answer the next one.
func TestChance(t *testing.T) {
	// unanswered returns how likely n probes in a row are. The path drops
	// packets with a probability d in each direction.
	unanswered := func(n int, d float64) float64 {
		willing, unwilling := 1.0, 0.0 // the peer, and nothing was answered so far
		for range n {
			willing, unwilling = willing*d+unwilling, willing*(1-d)*d
		}
		return willing + unwilling
	}
	for _, tt := range []struct {
		acked, lost int     // so far
		dropped     float64 // in each direction
		atLimit     float64 // how likely it may be that what thresholds wants is chance
		inAll       float64
	}{
		{1000, 0, 1 - math.Sqrt(0.99), 0.00003, 1e-9},
		{990, 10, 1 - math.Sqrt(0.99), 0.00003, 1e-9},
		{1600, 100, 1 - math.Sqrt(1-1.0/17), 0.001, 1e-6},
		{1599, 100, 1 - math.Sqrt(1-1.0/17), 0.00001, 1e-8},
		{81, 19, 0.1, 0.0003, 0.00001},
	} {
		confirming, placing := (&search{acked: tt.acked, lost: tt.lost}).thresholds()
		assert.Less(t, unanswered(placing, tt.dropped), tt.atLimit, tt)
		assert.Less(t, unanswered(confirming, tt.dropped), tt.inAll, tt)
	}
	assert.InDelta(t, 0.01, unanswered(1, 1-math.Sqrt(0.99)), 1e-9)
	assert.InDelta(t, 0.19, unanswered(1, 0.1), 1e-9)
}

// The path may wait for the end of a handshake, whose last segment may get lost, for
// longer than it remembers connections. A first question that was late shows nothing else.
func TestFirstQuestionIsLate(t *testing.T) {
	s := newSearch(Options{Max: time.Hour, Connections: 1})
	s.dialed(0, 0)
	s.accepted(0, 0, usualRTT, 0)
	s.asked(0, 48*time.Second, 48*time.Second)
	s.answered(0, 48*time.Second+usualRTT)
	assert.LessOrEqual(t, s.lower, shortest+lateness)
	s.asked(0, 60*time.Second, 60*time.Second)
	s.answered(0, 60*time.Second+usualRTT)
	assert.Equal(t, 12*time.Second-usualRTT, s.lower)
}

// The search waits for the estimate, which may take no longer with many connections.
func TestForeseeWithManyConnections(t *testing.T) {
	few, many := newSearch(Options{Max: time.Hour, Connections: 16}), newSearch(Options{Max: time.Hour, Connections: 1000})
	assert.Equal(t, few.progress(0).Left, many.progress(0).Left)
	conns := many.progress(0).Conns
	assert.Len(t, conns, 1000)
	assert.NotZero(t, conns[15].Until)
	assert.Zero(t, conns[16].Until)
}

// To look ahead leaves the search as it is, at every stage.
func TestForesee(t *testing.T) {
	const limit = 100 * time.Second
	s := newSearch(Options{Max: time.Hour, Connections: 8})
	first := s.progress(0)
	assert.Greater(t, first.LeftMost, time.Hour)
	assert.Less(t, first.Left, 4*time.Minute, "an hour and a second have a minute in the middle")

	now := time.Duration(0)
	for s.verdict == Incomplete {
		require.Less(t, now, 5*limit)
		before := fmt.Sprint(*s)
		p := s.progress(now)
		require.Equal(t, before, fmt.Sprint(*s))
		require.GreaterOrEqual(t, p.LeftMost, p.Left)
		for _, c := range p.Conns {
			require.True(t, c.Until == 0 || c.Until >= now, p)
		}
		st := s.next(now)
		now = max(now, st.at)
		switch i := st.conn; st.do {
		case dial:
			s.dialed(i, now)
			s.accepted(i, now, usualRTT, 0)
		case hangUp:
			s.hungUp(i, now)
		case ask:
			s.asked(i, now, now)
			if probes := s.conns[i].probes; probes[len(probes)-1].idle < limit {
				s.answered(i, now+usualRTT)
			}
		}
	}
	assert.Equal(t, Found, s.verdict)
}
