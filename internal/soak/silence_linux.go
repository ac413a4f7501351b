package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
)

// tick is how exactly Stat tells when the last answer came: to a tick of
// the kernel's clock, at 100 Hz.
const tick = 10 * time.Millisecond

// silent is a peer that has fallen silent.
type silent struct {
	since   time.Time // just before it did
	heard   time.Time // when the keeping end last had an answer from it
	noticed time.Time // when its Read failed
}

// Noticed says how long silent peers went unnoticed.
type Noticed struct {
	Falling      time.Duration   // from the first silent peer to the last
	SinceSilence []time.Duration // from when the peer fell silent
	SinceHeard   []time.Duration // from its last answer, of the same peers
	Others       int             // connections that were lost beside theirs
	First        string          // what befell the first of these
}

func (n *Noticed) add(m Noticed) {
	n.Falling = max(n.Falling, m.Falling)
	n.SinceSilence = append(n.SinceSilence, m.SinceSilence...)
	n.SinceHeard = append(n.SinceHeard, m.SinceHeard...)
	n.Others += m.Others
	if n.First == "" {
		n.First = m.First
	}
}

// Silence lets n peers fall silent and waits until all are noticed, or all
// should have been.
func (w *Worker) Silence(n int, answer *Noticed) error {
	defer w.begin()()
	if n == 0 {
		return nil
	}
	if err := w.fallSilent(n, answer); err != nil {
		return err
	}
	return w.notice(answer)
}

func (w *Worker) notice(answer *Noticed) error {
	until, cancel := context.WithTimeout(w.ctx, w.bound())
	defer cancel()
	left, lost := len(w.fallen), new(losses)
	err := w.crowd.await(w.ctx, until.Done(), func(e event) (done bool) {
		s := w.fallen[e.link.index]
		if s == nil || !w.crowd.keeps(e) || !keepalive.IsPeerLost(e.err) {
			return lost.add(e)
		}
		s.noticed = e.at
		w.count.Add(1)
		left--
		return left == 0
	})
	if err != nil {
		return err
	}
	for _, s := range w.fallen {
		if !s.noticed.IsZero() {
			answer.SinceSilence = append(answer.SinceSilence, s.noticed.Sub(s.since))
			answer.SinceHeard = append(answer.SinceHeard, s.noticed.Sub(s.heard))
		}
	}
	if answer.Others = len(lost.links); answer.Others > 0 {
		answer.First = fmt.Sprintf(", first %v", lost.first)
	}
	return nil
}

func (w *Worker) fallSilent(n int, answer *Noticed) error {
	w.fallen = make(map[int]*silent, n)
	start := time.Now()
	for _, i := range rand.Perm(len(w.crowd.links))[:n] {
		_, peer := w.crowd.ends(&w.crowd.links[i])
		w.fallen[i] = &silent{since: time.Now()}
		if err := netlab.Silence(peer); err != nil {
			return err
		}
	}
	answer.Falling = time.Since(start)
	// An answer that was under way has arrived by now.
	for i, s := range w.fallen {
		keeper, _ := w.crowd.ends(&w.crowd.links[i])
		now := time.Now()
		status, err := keepalive.Stat(keeper)
		if err != nil {
			return err
		}
		s.heard = now.Add(-status.SinceAck)
	}
	return nil
}
