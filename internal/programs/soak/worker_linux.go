package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// Worker has a share of the connections in its process. The coordinator calls
// its methods, one at a time, for all workers at once.
type Worker struct {
	options
	silenced int           // how many peers fall silent
	live     []*connection // whose peers have not
	events   chan event
	timeout  time.Duration // of what takes no time on an idle machine
}

// Reply is for how many connections a method has succeeded, and of silent peers
// how long each went unnoticed.
type Reply struct {
	N                         int
	SinceAnswer, SinceSilence []time.Duration
}

// newWorker returns worker i of n.
func newWorker(o options, i, n int) *Worker {
	w := &Worker{
		options:  o,
		silenced: o.silent()*(i+1)/n - o.silent()*i/n,
		events:   make(chan event, 1024),
		timeout:  30*time.Second + time.Duration(o.connections)*time.Millisecond,
	}
	for number := o.connections * i / n; number < o.connections*(i+1)/n; number++ {
		w.live = append(w.live, &connection{number: number})
	}
	return w
}

// Open opens the connections, spread over an Idle, so that their probes are as
// spread as those of connections that nobody opened at once. The accepted end is
// the prober of one half of them, the dialed end that of the other.
func (w *Worker) Open(_ time.Duration, r *Reply) error {
	var listeners [2]listener
	for i := range listeners {
		var err error
		if listeners[i], err = listen(w.policy, i == 0); err != nil {
			return err
		}
		defer listeners[i].Close()
	}
	start, pause := time.Now(), w.policy.Idle/time.Duration(len(w.live))
	r.N = len(w.live)
	return w.each(func(i int, c *connection) error {
		time.Sleep(time.Until(start.Add(pause * time.Duration(i))))
		if err := c.open(listeners[i%2]); err != nil {
			return err
		}
		go c.read(w.events)
		return c.verify(w.policy)
	})
}

// Idle leaves the connections alone for d.
func (w *Worker) Idle(d time.Duration, r *Reply) error {
	debug.SetGCPercent(-1) // the collector would run every two minutes
	r.N = len(w.live)
	_, err := w.await(d, 1, func(event) bool { return false })
	return err
}

// Silence silences peers and waits until all are noticed, or should have been.
func (w *Worker) Silence(_ time.Duration, r *Reply) error {
	if err := w.silencePeers(); err != nil {
		return err
	}
	return w.awaitNotices(r)
}

func (w *Worker) silencePeers() error {
	rand.Shuffle(len(w.live), func(i, j int) { w.live[i], w.live[j] = w.live[j], w.live[i] })
	silent := w.live[:w.silenced]
	w.live = w.live[w.silenced:]
	for _, c := range silent {
		c.peer.SetLinger(0) // nothing would acknowledge its FIN
		c.silenced = time.Now()
		if err := netlab.Silence(c.peer); err != nil {
			return err
		}
	}
	// An answer that was under way has arrived by now.
	for _, c := range silent {
		now := time.Now()
		status, err := keepalive.Stat(c.prober)
		if err != nil {
			return err
		}
		c.answered = now.Add(-status.SinceAck)
	}
	return nil
}

func (w *Worker) awaitNotices(r *Reply) (err error) {
	r.N, err = w.await(w.deadline(), w.silenced, func(e event) bool {
		if e.silenced.IsZero() || !keepalive.IsPeerLost(e.err) {
			return false
		}
		r.SinceAnswer = append(r.SinceAnswer, e.at.Sub(e.answered))
		r.SinceSilence = append(r.SinceSilence, e.at.Sub(e.silenced))
		return true
	})
	return err
}

// Echo sends a message of its own on each connection and waits for it to come
// back.
func (w *Worker) Echo(_ time.Duration, r *Reply) (err error) {
	nonce, deadline := rand.Uint64(), time.Now().Add(w.timeout)
	message := func(c *connection) uint64 { return nonce + uint64(c.number) }
	if err := w.each(func(_ int, c *connection) error { return binary.Write(c.prober, binary.BigEndian, message(c)) }); err != nil {
		return err
	}
	if err := w.each(func(_ int, c *connection) error { return c.echo(deadline) }); err != nil {
		return err
	}
	r.N, err = w.await(w.timeout, len(w.live), func(e event) bool {
		again := e.echoed
		e.echoed = true
		return e.err == nil && e.message == message(e.connection) && !again
	})
	return err
}

// Disable turns keepalive off.
func (w *Worker) Disable(_ time.Duration, r *Reply) error {
	off := w.policy
	off.Disable = true
	r.N = len(w.live)
	return w.each(func(_ int, c *connection) error { return off.Apply(c.prober) })
}

// Close ends the connections, first the prober and then the peer. Either would
// read before that what has come twice.
func (w *Worker) Close(_ time.Duration, r *Reply) (err error) {
	deadline := time.Now().Add(w.timeout)
	if err := w.each(func(_ int, c *connection) error { return c.prober.CloseWrite() }); err != nil {
		return err
	}
	if err := w.each(func(_ int, c *connection) error { return c.closePeer(deadline) }); err != nil {
		return err
	}
	r.N, err = w.await(w.timeout, len(w.live), func(e event) bool { return errors.Is(e.err, io.EOF) })
	return err
}

// each calls f for each live connection until it returns an error.
func (w *Worker) each(f func(i int, c *connection) error) error {
	for i, c := range w.live {
		if err := f(i, c); err != nil {
			return fmt.Errorf("connection %d: %w", c.number, err)
		}
	}
	return nil
}

// await waits for as many expected events as are wanted, but no longer than d.
// An unexpected event is an error.
func (w *Worker) await(d time.Duration, want int, expected func(event) bool) (n int, err error) {
	timeout := time.After(d)
	for n < want {
		select {
		case e := <-w.events:
			if !expected(e) {
				return n, e
			}
			n++
		case <-timeout:
			return n, nil
		}
	}
	return n, nil
}
