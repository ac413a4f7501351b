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
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
)

// Worker has a share of the connections in its process. The coordinator calls
// its methods, one at a time.
type Worker struct {
	options
	silenced int           // how many peers fall silent
	live     []*connection // whose peers have not
	events   chan event
	timeout  time.Duration // of what takes no time on an idle machine
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

// perListener is how many connections share a destination at most. It is well
// below the number of source ports (ip_local_port_range), so that connect(2)
// finds a free one at once.
const perListener = 10_000

// Open opens the connections, spread over an Idle, so that their probes are as
// spread as those of connections that nobody opened at once. Its reply, like
// that of the other methods, is the number of connections.
func (w *Worker) Open(_ time.Duration, n *int) error {
	listeners := make([]listener, 2*(1+len(w.live)/(2*perListener)))
	for i := range listeners {
		var err error
		address := fmt.Sprintf("127.0.0.%d:0", 1+i)
		if listeners[i], err = listen(address, w.policy, i%2 == 0); err != nil {
			return err
		}
		defer listeners[i].Close()
	}
	start, pause := time.Now(), w.policy.Idle/time.Duration(len(w.live))
	*n = len(w.live)
	return w.each(func(i int, c *connection) error {
		time.Sleep(time.Until(start.Add(pause * time.Duration(i))))
		if err := c.open(listeners[i%len(listeners)]); err != nil {
			return err
		}
		go c.read(w.events)
		return c.verify(w.policy)
	})
}

// Idle leaves the connections alone for d.
func (w *Worker) Idle(d time.Duration, n *int) error {
	debug.SetGCPercent(-1) // the collector would run every two minutes
	*n = len(w.live)
	_, err := w.await(d, 1, func(event) bool { return false })
	return err
}

// Notice is how long a silent peer went unnoticed.
type Notice struct {
	SinceSilence, SinceAnswer time.Duration
}

// Silence silences peers and waits until all are noticed, or should have been.
func (w *Worker) Silence(_ time.Duration, notices *[]Notice) error {
	if err := w.silencePeers(); err != nil {
		return err
	}
	return w.awaitNotices(notices)
}

func (w *Worker) silencePeers() error {
	rand.Shuffle(len(w.live), func(i, j int) { w.live[i], w.live[j] = w.live[j], w.live[i] })
	silent := w.live[:w.silenced]
	w.live = w.live[w.silenced:]
	for _, c := range silent {
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

func (w *Worker) awaitNotices(notices *[]Notice) error {
	_, err := w.await(w.deadline(), w.silenced, func(e event) bool {
		if e.silenced.IsZero() || !keepalive.IsPeerLost(e.err) {
			return false
		}
		*notices = append(*notices, Notice{e.at.Sub(e.silenced), e.at.Sub(e.answered)})
		return true
	})
	return err
}

// Echo sends a message of its own on each connection and waits for it to come
// back.
func (w *Worker) Echo(_ time.Duration, n *int) (err error) {
	nonce, deadline := rand.Uint64(), time.Now().Add(w.timeout)
	message := func(c *connection) uint64 { return nonce + uint64(c.number) }
	if err := w.each(func(_ int, c *connection) error { return binary.Write(c.prober, binary.BigEndian, message(c)) }); err != nil {
		return err
	}
	if err := w.each(func(_ int, c *connection) error { return c.echo(deadline) }); err != nil {
		return err
	}
	*n, err = w.await(w.timeout, len(w.live), func(e event) bool {
		again := e.echoed
		e.echoed = true
		return e.err == nil && e.message == message(e.connection) && !again
	})
	return err
}

// Disable turns keepalive off.
func (w *Worker) Disable(_ time.Duration, n *int) error {
	off := w.policy
	off.Disable = true
	*n = len(w.live)
	return w.each(func(_ int, c *connection) error { return off.Apply(c.prober) })
}

// Close ends the connections, first the prober and then the peer. Either would
// read before that what has come twice.
func (w *Worker) Close(_ time.Duration, n *int) (err error) {
	deadline := time.Now().Add(w.timeout)
	if err := w.each(func(_ int, c *connection) error { return c.prober.CloseWrite() }); err != nil {
		return err
	}
	if err := w.each(func(_ int, c *connection) error { return c.closePeer(deadline) }); err != nil {
		return err
	}
	*n, err = w.await(w.timeout, len(w.live), func(e event) bool { return errors.Is(e.err, io.EOF) })
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
