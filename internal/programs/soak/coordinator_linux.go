package main

import (
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
		_, printErr := fmt.Fprintln(stdout, outcome)
		if err := errors.Join(err, printErr); err != nil {
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
	return fmt.Sprintf("policy %v, workers: %d\n%10sa silent peer is noticed after %v, within %v", c.policy, n, "", c.detectionTime(), c.deadline()), nil
}

// call calls a method of every worker, all at once, and adds up their replies.
func (c *coordinator) call(method string, d time.Duration) (sum Reply, err error) {
	done := make(chan *rpc.Call, len(c.workers))
	for _, w := range c.workers {
		w.Go("Worker."+method, d, new(Reply), done)
	}
	for range c.workers {
		select {
		case call := <-done:
			reply := call.Reply.(*Reply)
			sum.N += reply.N
			sum.SinceAnswer = append(sum.SinceAnswer, reply.SinceAnswer...)
			sum.SinceSilence = append(sum.SinceSilence, reply.SinceSilence...)
			err = errors.Join(err, call.Error)
		case <-c.ctx.Done():
			return Reply{}, c.ctx.Err()
		}
	}
	return sum, err
}

// all returns a run that has the workers do something to their connections. It
// fails unless the outcome is the same for want of them.
func (c *coordinator) all(method string, d time.Duration, want int, outcome string) func() (string, error) {
	return func() (string, error) {
		start := time.Now()
		reply, err := c.call(method, d)
		if err != nil {
			return "", err
		}
		if reply.N != want {
			return "", fmt.Errorf("%d connections %s, want %d", reply.N, outcome, want)
		}
		return fmt.Sprintf("%d connections %s, after %.1f s", reply.N, outcome, time.Since(start).Seconds()), nil
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
		return fmt.Sprintf("%s\n%10s%.0f probes and %.1f ms of processor time a second", outcome, "", w.probes, w.busy), err
	}
}

func (c *coordinator) sample() (sample, error) {
	probes, err := c.call("Probes", 0)
	if err != nil {
		return sample{}, err
	}
	idle, processors, err := idleTime()
	return sample{time.Now(), idle, processors, probes.N}, err
}

func (c *coordinator) silence() (string, error) {
	r, err := c.call("Silence", 0)
	if err != nil {
		return "", err
	}
	return c.judge(r)
}

// clockTick is the resolution of Stat at 100 Hz.
const clockTick = 10 * time.Millisecond

// judge returns an error if a peer was noticed too early, too late or not at
// all. The last answer came at most an Idle before the silence.
func (c *coordinator) judge(r Reply) (outcome string, err error) {
	if r.N < c.silent() {
		return "", fmt.Errorf("%d of %d silent peers noticed within %v", r.N, c.silent(), c.deadline())
	}
	outcome = fmt.Sprintf("%d silent peers noticed, no other connection lost\n%10s%s after the last answer, %s after the silence",
		r.N, "", extremes(r.SinceAnswer), extremes(r.SinceSilence))
	if slices.Min(r.SinceAnswer) < c.detectionTime()-clockTick || slices.Min(r.SinceSilence) < c.detectionTime()-c.policy.Idle {
		return outcome, errors.New("a silent peer was noticed too early")
	}
	if max(slices.Max(r.SinceAnswer), slices.Max(r.SinceSilence)) > c.deadline() {
		return outcome, errors.New("a silent peer was noticed too late")
	}
	return outcome, nil
}

func extremes(d []time.Duration) string {
	return fmt.Sprintf("%.2f s to %.2f s", slices.Min(d).Seconds(), slices.Max(d).Seconds())
}

// quiet is up to how many milliseconds a second other programs may use for the
// cost to be more than noise.
const quiet = 200

func (c *coordinator) cost() (string, error) {
	if c.on.probes == 0 {
		return "", errors.New("the kernel counted no probe with keepalive on")
	}
	if c.off.probes != 0 {
		return "", fmt.Errorf("the kernel counted %.1f probes a second with keepalive off", c.off.probes)
	}
	if c.off.busy > quiet || c.off.busy >= c.on.busy {
		return fmt.Sprintf("unknown: other programs used %.1f ms of processor time a second", c.off.busy), nil
	}
	return fmt.Sprintf("(%.1f ms - %.1f ms) / %.0f probes = %.2f µs of processor time for a probe and its answer, both ends together",
		c.on.busy, c.off.busy, c.on.probes, (c.on.busy-c.off.busy)/c.on.probes*1e3), nil
}
