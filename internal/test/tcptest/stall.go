package tcptest

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// AssertWithin asserts that least to most has passed since a time. From most it
// leaves out the time in which this process did not get to run. Where a machine
// stalls, its timers do too, and the kernel counts to the next one from when the
// last one has run.
func AssertWithin(t testing.TB, since time.Time, least, most time.Duration) {
	t.Helper()
	AssertBetween(t, since, time.Now(), least, most)
}

// AssertBetween is [AssertWithin] for an end other than now.
func AssertBetween(t testing.TB, since, until time.Time, least, most time.Duration) {
	t.Helper()
	took, stalled := until.Sub(since), stalls.between(since, until)
	t.Logf("after %.2f s", took.Seconds())
	assert.GreaterOrEqual(t, took, least)
	assert.LessOrEqual(t, took-stalled, most, "without the %v for which the process stalled", stalled)
}

// stalls records when this process did not get to run.
var stalls = startStallMeter()

// A stallMeter sleeps again and again, and notes when it overslept.
type stallMeter struct {
	mu     sync.Mutex
	due    time.Time // the end of the sleep that it is in
	stalls []stall
}

type stall struct{ from, until time.Time }

const (
	sleep     = 5 * time.Millisecond
	overslept = 5 * time.Millisecond // more is a stall
)

func startStallMeter() *stallMeter {
	m := &stallMeter{due: time.Now().Add(sleep)}
	go func() {
		for {
			time.Sleep(sleep)
			m.wake(time.Now())
		}
	}()
	return m
}

func (m *stallMeter) wake(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.due) > overslept {
		m.stalls = append(m.stalls, stall{m.due, now})
	}
	m.due = now.Add(sleep)
}

// between returns how much of the time from one to another was a stall. The last
// one may not have ended for the meter.
func (m *stallMeter) between(from, until time.Time) (total time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.stalls
	if until.Sub(m.due) > overslept {
		all = append(all, stall{m.due, until})
	}
	for _, s := range all {
		first, last := s.from, s.until
		if first.Before(from) {
			first = from
		}
		if last.After(until) {
			last = until
		}
		total += max(0, last.Sub(first))
	}
	return total
}
