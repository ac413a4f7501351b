package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

// trial is what one set of connections goes through. One goroutine runs it and
// prints, its workers have the connections.
type trial struct {
	*cli.Screen
	options
	on      bool // with keepalive
	workers workers
	result  result
}

func (t *trial) run(ctx context.Context) error {
	processes, err := spread(t.options)
	if err != nil {
		return err
	}
	t.introduce(processes)
	if t.workers, err = startWorkers(ctx, processes); err != nil {
		return err
	}
	err = errors.Join(t.goThrough(ctx), t.workers.stop())
	if ctx.Err() != nil {
		return ctx.Err() // whatever it was that the workers were at
	}
	return err
}

func (t *trial) introduce(processes int) {
	policy := "keepalive off, as net has it with KeepAlive: -1"
	if t.on {
		policy = fmt.Sprintf("%v idle, %v between %d probes: dead after %v, noticed within %v",
			t.policy.Idle, t.policy.Interval, t.policy.Count, t.detection(), t.bound())
	}
	t.Say("policy", "%s", policy)
	if processes > 1 {
		t.Say("spread", "over %d processes, since one may not open so many files", processes)
	}
}

func (t *trial) goThrough(ctx context.Context) error {
	if err := t.ramp(ctx); err != nil {
		return err
	}
	if err := t.hold(ctx); err != nil || !t.on {
		return err
	}
	if err := t.silence(ctx); err != nil {
		return err
	}
	return t.echo(ctx)
}

// ramp opens the connections and takes what memory they need.
func (t *trial) ramp(ctx context.Context) error {
	// 64 bytes are a hundredth of what the kernel needs for a connection.
	if err := quiesce(ctx, 64*int64(t.connections)); err != nil {
		return err
	}
	before, err := kernelMemory()
	if err != nil {
		return err
	}
	start := time.Now()
	show := func(n int64) { t.Refresh("ramp", "%s of %s connections", group(n), group(t.connections)) }
	memories, err := call[Memory](ctx, t, "Open", t.tasks(), t.Period(5*time.Second), show)
	if err != nil {
		return err
	}
	t.Refresh("ramp", "%s connections, %s sockets, in %.1f s", group(t.connections), group(2*t.connections), time.Since(start).Seconds())
	t.End()
	after, err := kernelMemory()
	if err != nil {
		return err
	}
	t.result.Connections, t.result.Processes = t.connections, len(t.workers)
	t.result.Memory = after.minus(before)
	for _, m := range memories {
		t.result.Memory = t.result.Memory.plus(m)
	}
	return unfollowed()
}

// tasks gives each worker its share.
func (t *trial) tasks() []Task {
	tasks := make([]Task, len(t.workers))
	first := 0
	for i := range tasks {
		share := part(t.connections, i, len(tasks))
		tasks[i] = Task{On: t.on, Number: i, First: first, Connections: share}
		first += share
	}
	return tasks
}

// part returns the share of part i, when n is split evenly into parts.
func part(n, i, parts int) int { return n*(i+1)/parts - n*i/parts }

// unfollowed reports whether a firewall keeps the state of connections in this
// namespace, which would cost memory that is not theirs.
func unfollowed() error {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return nil // no conntrack at all
	}
	if n := strings.TrimSpace(string(text)); n != "0" {
		return fmt.Errorf("conntrack follows %s connections within the new network namespace, want none", n)
	}
	return nil
}

// hold leaves the connections alone, and takes the measures once every one of
// them has had its first probe.
func (t *trial) hold(ctx context.Context) error {
	if _, err := t.idle(ctx, "settle", t.policy.Idle*9/8); err != nil {
		return err
	}
	window := t.options.hold
	if !t.on {
		window = t.baseline
	}
	before, err := sampleNow()
	if err != nil {
		return err
	}
	used, err := t.idle(ctx, "hold", window)
	if err != nil {
		return err
	}
	after, err := sampleNow()
	if err != nil {
		return err
	}
	t.result.Window = after.minus(before)
	t.result.Window.Process = used
	return nil
}

// idle returns the processor time that the workers have used.
func (t *trial) idle(ctx context.Context, what string, d time.Duration) (used time.Duration, err error) {
	start := time.Now()
	show := func(lost int64) {
		t.Refresh(what, "%.0f of %.0f s, %s connections lost", time.Since(start).Seconds(), d.Seconds(), group(lost))
	}
	times, err := call[time.Duration](ctx, t, "Idle", same(d, t.workers), t.Period(10*time.Second), show)
	for _, d := range times {
		used += d
	}
	if err == nil {
		t.Refresh(what, "%.0f s, no connection lost", d.Seconds())
		t.End()
	}
	return used, err
}

// silence lets peers fall silent at once, and expects that they, and nobody
// else, are noticed in time.
func (t *trial) silence(ctx context.Context) error {
	shares := make([]int, len(t.workers))
	for i := range shares {
		shares[i] = part(t.silenced, i, len(shares))
	}
	start := time.Now()
	show := func(n int64) {
		t.Refresh("noticed", "%s of %s silent peers after %.1f s", group(n), group(t.silenced), time.Since(start).Seconds())
	}
	t.Say("silence", "%s peers fall silent", group(t.silenced))
	answers, err := call[Noticed](ctx, t, "Silence", shares, t.Period(5*time.Second), show)
	if err != nil {
		return err
	}
	var all Noticed
	for _, a := range answers {
		all.add(a)
	}
	t.Refresh("noticed", "%s silent peers, of %s that fell silent within %.0f ms, and %s others",
		group(len(all.SinceHeard)), group(t.silenced), all.Falling.Seconds()*1e3, group(all.Others))
	t.End()
	if len(all.SinceHeard) > 0 {
		t.spread("since the last answer to a probe", all.SinceHeard)
		t.spread("since the silence began", all.SinceSilence)
		for _, line := range histogram(all.SinceSilence) {
			t.Say("", "%s", line)
		}
	}
	return t.judge(all)
}

// judge reports peers that were noticed too early, too late or not at all.
//
// The policy counts from the last answer to a probe. The last one before the
// silence came up to an Idle before it, so that since the silence at least all
// intervals between the probes have passed.
func (t *trial) judge(n Noticed) error {
	early, late := 0, 0
	for i, heard := range n.SinceHeard {
		silence := n.SinceSilence[i]
		if heard < t.detection()-tick || silence < t.policy.Interval*time.Duration(t.policy.Count) {
			early++
		}
		if max(heard, silence) > t.bound() {
			late++
		}
	}
	if missing := t.silenced - len(n.SinceHeard); missing+early+late+n.Others > 0 {
		return fmt.Errorf("of %d silent peers %d were not noticed, %d later than %v, and %d before %v had passed; %d others were lost%s",
			t.silenced, missing, late, t.bound(), early, t.detection(), n.Others, n.First)
	}
	return nil
}

func (t *trial) spread(title string, times []time.Duration) {
	least, middle, most := extremes(times)
	t.Say("", "%s: %.2f s to %.2f s, median %.2f s", title, least.Seconds(), most.Seconds(), middle.Seconds())
}

// echo expects one message to come back on every connection that is left.
func (t *trial) echo(ctx context.Context) error {
	rest := t.connections - t.silenced
	for _, step := range []struct{ method, name, done string }{
		{"Echo", "echo", "messages came back"},
		{"Close", "close", "connections ended in order, no message came twice"},
	} {
		start := time.Now()
		show := func(n int64) { t.Refresh(step.name, "%s of %s connections", group(n), group(rest)) }
		counts, err := call[int](ctx, t, step.method, same(0, t.workers), t.Period(5*time.Second), show)
		if err != nil {
			return err
		}
		n := 0
		for _, c := range counts {
			n += c
		}
		t.Refresh(step.name, "%s of %s %s, within %.1f s", group(n), group(rest), step.done, time.Since(start).Seconds())
		t.End()
		if n != rest {
			return fmt.Errorf("%s: %d of %d connections had no answer", step.name, rest-n, rest)
		}
	}
	return nil
}
