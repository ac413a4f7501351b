package main

import (
	"context"
	"fmt"
	"net/rpc"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Worker has connections in its process, and does with them what the trial
// asks for: one thing at a time, but for Count.
type Worker struct {
	options
	ctx context.Context
	// patience is for how long the last answer of an exchange is waited for.
	patience time.Duration
	busy     sync.Mutex
	count    atomic.Int64
	crowd    *crowd
	// fallen are the silent ones, by index.
	fallen map[int]*silent
}

// Task is the share of one worker.
type Task struct {
	On                         bool
	Number, First, Connections int
}

// serve does what the trial, at the other end of stdin and stdout, asks for.
func serve(ctx context.Context, o options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := newWorker(ctx, o)
	server := rpc.NewServer()
	if err := server.Register(w); err != nil {
		return err
	}
	go func() {
		server.ServeConn(pipes{os.Stdin, os.Stdout})
		cancel()
	}()
	<-ctx.Done()
	w.busy.Lock() // what is being done ends with ctx
	defer w.busy.Unlock()
	if w.crowd != nil {
		w.crowd.close()
	}
	return nil
}

// newWorker waits for answers a hundred times as long as they take on a machine
// that is not too busy.
func newWorker(ctx context.Context, o options) *Worker {
	return &Worker{options: o, ctx: ctx, patience: 30*time.Second + time.Duration(o.connections)*time.Millisecond}
}

// Count returns how far the worker is with what it does.
func (w *Worker) Count(_ int, n *int64) error {
	*n = w.count.Load()
	return nil
}

func (w *Worker) begin() (end func()) {
	w.busy.Lock()
	w.count.Store(0)
	return w.busy.Unlock
}

// Open opens the connections and returns what memory of this process they need.
func (w *Worker) Open(task Task, m *Memory) error {
	defer w.begin()()
	before, err := processMemory()
	if err != nil {
		return err
	}
	w.crowd = newCrowd(task, w.policy)
	if err := w.ramp(); err != nil {
		return err
	}
	// Nothing allocates until the echo. What the collector would do by itself,
	// every two minutes, is no cost of keepalive.
	debug.SetGCPercent(-1)
	after, err := processMemory()
	*m = after.minus(before)
	return err
}

func (w *Worker) ramp() error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	opened, done := context.WithCancel(context.Background())
	var failed error
	go func() {
		failed = w.crowd.open(ctx, &w.count)
		done()
	}()
	lost := new(losses)
	err := w.crowd.await(w.ctx, opened.Done(), lost.add)
	cancel()
	<-opened.Done()
	if err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return lost.err("while others were opened")
}

// Idle leaves the connections alone, and returns the processor time that this
// process has used meanwhile. The count is that of lost connections.
func (w *Worker) Idle(d time.Duration, used *time.Duration) error {
	defer w.begin()()
	before, err := processTime()
	if err != nil {
		return err
	}
	until, cancel := context.WithTimeout(w.ctx, d)
	defer cancel()
	lost := new(losses)
	err = w.crowd.await(w.ctx, until.Done(), func(e event) bool {
		lost.add(e)
		w.count.Store(int64(len(lost.links)))
		return false
	})
	if err != nil {
		return err
	}
	after, err := processTime()
	if err != nil {
		return err
	}
	*used = after - before
	return lost.err("while they were idle")
}

// losses are links that ended and should not have, or that spoke unasked.
type losses struct {
	links map[*link]bool
	first event
}

func (l *losses) add(e event) (done bool) {
	if l.links == nil {
		l.links, l.first = make(map[*link]bool), e
	}
	l.links[e.link] = true
	return false
}

func (l *losses) err(when string) error {
	if len(l.links) == 0 {
		return nil
	}
	return fmt.Errorf("connections lost %s: %d, first %v", when, len(l.links), l.first)
}
