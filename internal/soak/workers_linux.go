package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// workers are processes that share the connections.
type workers []*remote

type remote struct {
	*rpc.Client
	cmd *exec.Cmd
}

// pipes are the standard input and output of a process, from either side.
type pipes struct {
	io.ReadCloser
	io.WriteCloser
}

func (p pipes) Close() error {
	return errors.Join(p.WriteCloser.Close(), p.ReadCloser.Close())
}

func startWorkers(ctx context.Context, n int) (workers, error) {
	var ws workers
	for range n {
		w, err := startWorker(ctx)
		if err != nil {
			return nil, errors.Join(err, ws.stop())
		}
		ws = append(ws, w)
	}
	return ws, nil
}

func startWorker(ctx context.Context) (*remote, error) {
	cmd, err := again(ctx, aWorker)
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	// The terminal's keys are for the trial to answer.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &remote{rpc.NewClient(pipes{out, in}), cmd}, nil
}

// stop lets the workers end, who close their connections.
func (ws workers) stop() error {
	for _, w := range ws {
		w.Close()
	}
	var errs []error
	for _, w := range ws {
		// What ends a worker early is an error of its call, or an interrupt.
		if err := w.cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, fmt.Errorf("worker: %w", err))
		}
	}
	return errors.Join(errs...)
}

// same gives all workers the same argument.
func same[A any](arg A, ws workers) []A {
	args := make([]A, len(ws))
	for i := range args {
		args[i] = arg
	}
	return args
}

// call has every worker do something, each with its own argument, and returns
// their replies. Until they are done it shows the sum of their counts.
func call[R, A any](ctx context.Context, t *trial, method string, args []A, period time.Duration, show func(count int64)) ([]R, error) {
	replies := make([]R, len(t.workers))
	done := make(chan *rpc.Call, len(t.workers))
	for i, w := range t.workers {
		w.Go("Worker."+method, args[i], &replies[i], done)
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var errs []error
	for left := len(t.workers); left > 0; {
		select {
		case c := <-done:
			errs = append(errs, c.Error)
			left--
		case <-ticker.C:
			n, err := t.workers.count()
			if err != nil {
				return nil, err
			}
			show(n)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return replies, errors.Join(errs...)
}

func (ws workers) count() (sum int64, err error) {
	for _, w := range ws {
		var n int64
		if err := w.Call("Worker.Count", 0, &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
