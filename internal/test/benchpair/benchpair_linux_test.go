package benchpair

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spin is busy for d, which a sleep would overshoot.
func spin(d time.Duration) func() {
	return func() {
		for start := time.Now(); time.Since(start) < d; {
		}
	}
}

func TestMedians(t *testing.T) {
	slow := spin(100 * time.Microsecond)
	outlier := 0
	got := Medians(101,
		Contender{Do: slow},
		Contender{Do: spin(20 * time.Microsecond)},
		Contender{Do: func() {
			if outlier++; outlier%3 == 0 {
				slow()
			}
		}},
	)
	assert.InEpsilon(t, 5, got[0].Seconds()/got[1].Seconds(), 0.2)
	assert.Less(t, got[2], 10*time.Microsecond, "a third of the calls doesn't move a median")
}

func TestEveryCallIsPreparedAndFinished(t *testing.T) {
	var prepared, ready, done, finished int
	c := Contender{
		Prepare: func(calls int) { assert.LessOrEqual(t, calls, batch); ready = calls; prepared += calls },
		Do:      func() { ready--; done++ },
		Finish:  func() { assert.Zero(t, ready, "as many calls as were prepared"); finished = done },
	}
	const rounds = 2*batch + 1
	Medians(rounds, c, Contender{Do: func() {}})
	assert.Equal(t, []int{rounds, rounds, rounds}, []int{prepared, done, finished})
}

type recorder struct {
	metrics map[string]float64
	errors  []string
}

func (r *recorder) ReportMetric(n float64, unit string) { r.metrics[unit] = n }

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestReport(t *testing.T) {
	contenders := []Contender{{Name: "ours"}, {Name: "net"}, {Name: "floor"}, {Name: "hook"}}
	medians := []time.Duration{81, 100, 80, 40}
	r := &recorder{metrics: map[string]float64{}}
	report(r, enough, contenders, medians)
	assert.Equal(t, map[string]float64{"of-net": 0.81, "of-floor": 1.0125, "of-hook": 2.025}, r.metrics)
	assert.Equal(t, []string{"ours takes 2.02 of hook, want at most 2"}, r.errors)

	r = &recorder{metrics: map[string]float64{}}
	report(r, enough-1, contenders, medians)
	assert.Len(t, r.metrics, 3)
	assert.Empty(t, r.errors, "too few rounds to judge by")
}

func TestAccept(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	assert.Positive(t, Medians(3*batch, Accept(t, "accept", ln))[0])
}

func TestDial(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	assert.Positive(t, Medians(3*batch, Dial(t, "dial", new(net.Dialer), ln))[0])
	require.NoError(t, ln.(*net.TCPListener).SetDeadline(time.Now()))
	_, err = ln.Accept()
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing is left in the backlog")
}
