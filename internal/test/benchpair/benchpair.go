// Package benchpair compares how long several ways to do one thing take.
//
// On a machine that others share, two runs of the same benchmark differ by more
// than the results to compare. Here the contenders take turns within one
// process, each call is timed by itself, and what counts is the ratio of the
// medians: whatever slows the machine down slows all of them.
package benchpair

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Contender is one way to do it.
type Contender struct {
	Name string

	// Prepare, unless nil, makes ready for as many calls of Do, and Finish,
	// unless nil, cleans up after them. Neither is timed.
	Prepare func(calls int)
	Do      func()
	Finish  func()
}

func (c *Contender) prepare(calls int) {
	if c.Prepare != nil {
		c.Prepare(calls)
	}
}

func (c *Contender) finish() {
	if c.Finish != nil {
		c.Finish()
	}
}

// batch is how many calls are prepared at once.
const batch = 64

// batches splits n.
func batches(n int) func(yield func(calls int) bool) {
	return func(yield func(int) bool) {
		for ; n > 0; n -= batch {
			if !yield(min(n, batch)) {
				return
			}
		}
	}
}

// Medians has the contenders take turns, in an order that is drawn anew each
// time, and returns the median time of each one's Do. What it takes to look at
// the clock is subtracted.
func Medians(rounds int, contenders ...Contender) []time.Duration {
	contenders = append(slices.Clone(contenders), Contender{Do: func() {}})
	times := make([][]time.Duration, len(contenders))
	order := make([]int, len(contenders))
	for i := range contenders {
		times[i], order[i] = make([]time.Duration, 0, rounds), i
	}
	for calls := range batches(rounds) {
		for i := range contenders {
			contenders[i].prepare(calls)
		}
		for range calls {
			rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			for _, i := range order {
				start := time.Now()
				contenders[i].Do()
				times[i] = append(times[i], time.Since(start))
			}
		}
		for i := range contenders {
			contenders[i].finish()
		}
	}
	medians := make([]time.Duration, len(contenders))
	for i := range times {
		medians[i] = median(times[i])
	}
	clock := len(medians) - 1
	for i := range clock {
		medians[i] -= medians[clock]
	}
	return medians[:clock]
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// enough rounds make a median that limit can be held against.
const enough = 1000

// limit is how many times as long as another contender the first one may take.
// It finds what has gone wrong by far, on any machine. What costs one system call
// more is for package cost to find.
const limit = 2

// Benchmark runs each contender as a benchmark of its own, which shows its
// allocations, and then "ratio", whose metrics are the first contender's ratios
// to the others: "0.73 of-net" takes 27 % less time than the contender named
// net. Above limit it fails.
func Benchmark(b *testing.B, contenders ...Contender) {
	for _, c := range contenders {
		b.Run(c.Name, func(b *testing.B) {
			b.ReportAllocs()
			b.StopTimer()
			for calls := range batches(b.N) {
				c.prepare(calls)
				b.StartTimer()
				for range calls {
					c.Do()
				}
				b.StopTimer()
				c.finish()
			}
		})
	}
	b.Run("ratio", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		report(b, b.N, contenders, Medians(b.N, contenders...))
	})
}

type reporter interface {
	ReportMetric(n float64, unit string)
	Errorf(format string, args ...any)
}

func report(r reporter, rounds int, contenders []Contender, medians []time.Duration) {
	for i, c := range contenders[1:] {
		ratio := float64(medians[0]) / float64(medians[i+1])
		r.ReportMetric(ratio, "of-"+c.Name)
		if rounds >= enough && ratio > limit {
			r.Errorf("%s takes %.2f of %s, want at most %d", contenders[0].Name, ratio, c.Name, limit)
		}
	}
}
