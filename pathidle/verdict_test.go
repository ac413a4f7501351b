package pathidle

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
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
				end, _, err := w.run(search, 0, 6*time.Hour)
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
		w := simulation{rtt: 20 * time.Millisecond, limit: func() time.Duration {
			if random.IntN(2) == 0 {
				return time.Minute
			}
			return 10 * time.Minute
		}}
		s := newSearch(Options{Max: time.Hour, Connections: 8})
		end, _, err := w.run(s, 0, 6*time.Hour)
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
