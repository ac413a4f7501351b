package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// verdict is what an event means to an exchange.
type verdict int

const (
	wrong verdict = iota
	right
	ignored
)

// Echo sends a message on every link that has not fallen silent, another one
// on each, and returns how many have come back unchanged.
func (w *Worker) Echo(_ int, n *int) error {
	defer w.begin()()
	nonce := rand.Uint64()
	message := func(l *link) uint64 { return nonce + uint64(l.index) }
	back := make([]bool, len(w.crowd.links))
	return w.exchange("echo", n, func(l *link) error { return writeMessage(l.dialed, message(l)) },
		func(e event) verdict {
			if e.err != nil || e.message != message(e.link) || back[e.link.index] {
				return wrong
			}
			back[e.link.index] = true
			return right
		})
}

// Close ends these links, and returns how many have ended in order. A message
// that came twice would arrive before the end.
func (w *Worker) Close(_ int, n *int) error {
	defer w.begin()()
	return w.exchange("close", n, func(l *link) error { return l.dialed.CloseWrite() },
		func(e event) verdict {
			switch {
			case !errors.Is(e.err, io.EOF):
				return wrong
			case e.dialed:
				return right
			default:
				return ignored
			}
		})
}

// exchange does something to all links that have not fallen silent, and waits
// until the right event has followed on each of them.
func (w *Worker) exchange(name string, n *int, do func(*link) error, judge func(event) verdict) error {
	links := w.rest()
	if len(links) == 0 {
		return nil
	}
	until, cancel := context.WithTimeout(w.ctx, w.patience)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- each(links, do) }()
	lost := new(losses)
	err := w.crowd.await(w.ctx, until.Done(), func(e event) bool {
		switch judge(e) {
		case right:
			*n++
			w.count.Add(1)
		case wrong:
			lost.add(e)
		}
		return *n == len(links)
	})
	return errors.Join(err, lost.err("during "+name), <-failed)
}

func (w *Worker) rest() []*link {
	rest := make([]*link, 0, len(w.crowd.links))
	for i := range w.crowd.links {
		if w.fallen[i] == nil {
			rest = append(rest, &w.crowd.links[i])
		}
	}
	return rest
}

// each does something to all links, to a few at a time. It returns the first
// error.
func each(links []*link, do func(*link) error) error {
	const workers = 8
	errs := make(chan error, workers)
	for i := range workers {
		go func() { errs <- eachOf(links, i, workers, do) }()
	}
	var first error
	for range workers {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func eachOf(links []*link, first, step int, do func(*link) error) error {
	for i := first; i < len(links); i += step {
		if err := do(links[i]); err != nil {
			return fmt.Errorf("connection %d: %w", links[i].number, err)
		}
	}
	return nil
}
