package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"runtime"
	"slices"
	"time"
)

// coordinator takes the workers through the test and judges it.
type coordinator struct {
	options
	ctx     context.Context
	workers []*rpc.Client
	on, off window // while the connections are idle, with keepalive on and off
}

// step is a part of the test. run returns what to print of it.
type step struct {
	name string
	run  func() (outcome string, err error)
}

func coordinate(ctx context.Context, o options, stdout io.Writer) error {
	restore, err := raise(backlog, o.connections/4)
	if err != nil {
		return err
	}
	defer restore()
	runtime.LockOSThread() // the workers are killed with the thread that starts them
	for _, s := range (&coordinator{options: o, ctx: ctx}).steps() {
		if _, err := fmt.Fprintf(stdout, "%-10s", s.name); err != nil {
			return err
		}
		outcome, err := s.run()
		if _, printErr := fmt.Fprintln(stdout, outcome); err == nil {
			err = printErr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (c *coordinator) steps() []step {
	all := c.connections
	rest := all - c.silent()
	return []step{
		{"start", c.start},
		{"open", c.all("Open", 0, all, "opened and read back")},
		{"settle", c.all("Idle", c.policy.Idle*9/8, all, "still open")}, // until each has sent a probe
		{"hold", c.measure(c.hold, all, &c.on)},
		{"silence", c.silence},
		{"echo", c.all("Echo", 0, rest, "carried a message there and back")},
		{"disable", c.all("Disable", 0, rest, "have keepalive off")},
		{"baseline", c.measure(c.baseline(), rest, &c.off)},
		{"close", c.all("Close", 0, rest, "ended in order, no message came twice")},
		{"cost", c.cost},
	}
}

func (c *coordinator) start() (string, error) {
	n, err := processes(c.connections)
	if err != nil {
		return "", err
	}
	for i := range n {
		w, err := startWorker(i, n)
		if err != nil {
			return "", err
		}
		c.workers = append(c.workers, w)
	}
	return fmt.Sprintf("%d processes, policy %v: a silent peer is noticed after %v, within %v", n, c.policy, c.detectionTime(), c.deadline()), nil
}

// sum calls a method of all workers and returns the sum of their replies.
func (c *coordinator) sum(method string, d time.Duration) (sum int, err error) {
	replies, err := call[int](c.ctx, c.workers, method, d)
	for _, n := range replies {
		sum += n
	}
	return sum, err
}

// all returns a run that has the workers do something to their connections. It
// fails unless the outcome is the same for want of them.
func (c *coordinator) all(method string, d time.Duration, want int, outcome string) func() (string, error) {
	return func() (string, error) {
		start := time.Now()
		n, err := c.sum(method, d)
		if err != nil {
			return "", err
		}
		if n != want {
			return "", fmt.Errorf("%d connections %s, want %d", n, outcome, want)
		}
		return fmt.Sprintf("%d connections %s, after %.1f s", n, outcome, time.Since(start).Seconds()), nil
	}
}

// measure returns a run that leaves the connections idle for d.
func (c *coordinator) measure(d time.Duration, want int, w *window) func() (string, error) {
	return func() (string, error) {
		before, err := c.sample()
		if err != nil {
			return "", err
		}
		outcome, err := c.all("Idle", d, want, "still open")()
		if err != nil {
			return outcome, err
		}
		after, err := c.sample()
		*w = after.since(before)
		return fmt.Sprintf("%s; each second %.0f probes, %.1f ms of processor time", outcome, w.probes, w.busy), err
	}
}

func (c *coordinator) sample() (sample, error) {
	probes, err := c.sum("Probes", 0)
	if err != nil {
		return sample{}, err
	}
	idle, processors, err := idleTime()
	return sample{time.Now(), idle, processors, probes}, err
}

func (c *coordinator) silence() (string, error) {
	replies, err := call[[]Notice](c.ctx, c.workers, "Silence", 0)
	if err != nil {
		return "", err
	}
	notices := slices.Concat(replies...)
	outcome := fmt.Sprintf("%d of %d silent peers noticed, no other connection lost", len(notices), c.silent())
	if len(notices) > 0 {
		outcome += fmt.Sprintf("\n%10s%s after the last answer, %s after the silence", "",
			extremes(notices, func(n Notice) time.Duration { return n.SinceAnswer }),
			extremes(notices, func(n Notice) time.Duration { return n.SinceSilence }))
	}
	return outcome, c.judge(notices)
}

func extremes(notices []Notice, since func(Notice) time.Duration) string {
	order := func(a, b Notice) int { return cmp.Compare(since(a), since(b)) }
	least, most := slices.MinFunc(notices, order), slices.MaxFunc(notices, order)
	return fmt.Sprintf("%.2f s to %.2f s", since(least).Seconds(), since(most).Seconds())
}

// clockTick is the resolution of Stat at 100 Hz.
const clockTick = 10 * time.Millisecond

// judge returns an error if a peer was noticed too early, too late or not at
// all. The last answer came at most an Idle before the silence.
func (c *coordinator) judge(notices []Notice) error {
	early, late := 0, 0
	for _, n := range notices {
		if n.SinceAnswer < c.detectionTime()-clockTick || n.SinceSilence < c.detectionTime()-c.policy.Idle {
			early++
		}
		if max(n.SinceAnswer, n.SinceSilence) > c.deadline() {
			late++
		}
	}
	if missing := c.silent() - len(notices); missing+early+late > 0 {
		return fmt.Errorf("of %d silent peers %d were not noticed, %d after more than %v, and %d in less than %v",
			c.silent(), missing, late, c.deadline(), early, c.detectionTime())
	}
	return nil
}

func (c *coordinator) cost() (string, error) {
	if c.on.probes == 0 {
		return "", errors.New("the kernel counted no probe with keepalive on")
	}
	if c.off.probes != 0 {
		return "", fmt.Errorf("the kernel counted %.1f probes a second with keepalive off", c.off.probes)
	}
	return fmt.Sprintf("(%.1f ms - %.1f ms) / %.0f probes = %.2f µs of processor time for a probe and its answer, both ends together",
		c.on.busy, c.off.busy, c.on.probes, (c.on.busy-c.off.busy)/c.on.probes*1e3), nil
}
