package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/cli"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
)

// as tells a process that this program has started what it is: one of the
// trials, or a worker of one.
const as = "SOAK_AS"

const (
	trialOn  = "keepalive"
	trialOff = "off"
	aWorker  = "worker"
)

func soak(ctx context.Context, o options, stdout, stderr io.Writer) error {
	switch name := os.Getenv(as); name {
	case "":
		return compare(ctx, o, stdout, stderr)
	case aWorker:
		return serve(ctx, o)
	default:
		return answerTrial(ctx, o, name == trialOn, stdout)
	}
}

// compare goes through the trials, each in processes and a network namespace
// of its own. The one without keepalive comes first, because it ends with resets:
// that which ends in order leaves sockets in TIME_WAIT, and the next one would see
// their memory go.
func compare(ctx context.Context, o options, stdout, stderr io.Writer) error {
	restore, err := prepare(o)
	if err != nil {
		return err
	}
	defer restore()
	var off *result
	if o.baseline > 0 {
		if off, err = runTrial(ctx, trialOff, stdout, stderr); err != nil {
			return err
		}
	}
	on, err := runTrial(ctx, trialOn, stdout, stderr)
	if err != nil {
		return err
	}
	s := cli.NewScreen(stdout)
	report(s, on, off)
	if err := s.Err(); err != nil {
		return err
	}
	return check(on, off)
}

// runTrial runs this program again. The result comes through a pipe, what it
// prints goes where this process prints.
func runTrial(ctx context.Context, name string, stdout, stderr io.Writer) (*result, error) {
	runtime.LockOSThread() // with which Isolate kills
	defer runtime.UnlockOSThread()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd, err := again(ctx, name)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{w}
	netlab.Isolate(cmd)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("no network namespace of its own: %w", err)
	}
	answer, readErr := io.ReadAll(r)
	if err := cmd.Wait(); err != nil {
		if cmd.ProcessState.ExitCode() < 0 && ctx.Err() != nil {
			return nil, ctx.Err() // interrupted before it could answer that
		}
		return nil, err
	}
	if readErr != nil {
		return nil, readErr
	}
	res := new(result)
	return res, json.Unmarshal(answer, res)
}

// again prepares this program to run with the same arguments as what name
// says. It is interrupted with ctx.
func again(ctx context.Context, name string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // which a terminal has sent it as well
	cmd.Env = append(os.Environ(), as+"="+name)
	return cmd, nil
}

func answerTrial(ctx context.Context, o options, on bool, stdout io.Writer) error {
	answer := os.NewFile(3, "answer")
	defer answer.Close()
	if err := netlab.Enter(); err != nil {
		return err
	}
	s := cli.NewScreen(stdout)
	defer s.End()
	t := &trial{Screen: s, options: o, on: on}
	if err := t.run(ctx); err != nil {
		return err
	}
	if err := s.Err(); err != nil {
		return err
	}
	return json.NewEncoder(answer).Encode(t.result)
}
