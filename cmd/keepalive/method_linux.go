package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgrouppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/seccomppolicy"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/supervise"
)

// Methods of run.
const (
	ebpf    = "ebpf"
	seccomp = "seccomp"
)

// A refusal is why eBPF can't be used where seccomp can.
type refusal struct {
	what string // in a few words
	error
}

func (r refusal) Unwrap() error { return r.error }

// brief is the error without what to do about it.
func (r refusal) brief() string {
	if errno, ok := errors.AsType[unix.Errno](r.error); ok {
		return fmt.Sprintf("%s (%v)", r.what, errno)
	}
	return r.what
}

// supervise runs the program by the method that was asked for, or else by eBPF
// where that is allowed.
func (r *runProgram) supervise(signals supervise.Signals, cmd *exec.Cmd) (syscall.WaitStatus, error) {
	if r.method == seccomp {
		return r.runFiltered(signals, cmd)
	}
	status, err := r.runInGroup(signals, cmd)
	refused, ok := errors.AsType[refusal](err)
	if !ok || r.method == ebpf {
		return status, err
	}
	if !r.quiet {
		fmt.Fprintf(supervise.Stderr, "keepalive run: %s, so it uses seccomp with no_new_privs: sudo and other set-user-ID programs run without their rights (--quiet hides this line)\n", refused.brief())
	}
	return r.runFiltered(signals, cmd)
}

// runInGroup runs the program in a group of its own, with eBPF.
func (r *runProgram) runInGroup(signals supervise.Signals, cmd *exec.Cmd) (status syscall.WaitStatus, err error) {
	own, err := cgroup.Own()
	if err != nil {
		return 0, refusal{"there is no cgroup v2 for eBPF", err}
	}
	defer own.Close()
	if err := check(own, r.policy); err != nil {
		return 0, refusedOr(err)
	}
	group, err := own.New()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return 0, refusal{"a control group for eBPF is refused", err}
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, group.Remove()) }()
	attachment, err := attachTo(group, r.policy, r.allowMPTCP)
	if err != nil {
		return 0, refusedOr(err)
	}
	defer attachment.Close()
	if err := cgrouppolicy.SetInherited(r.policy, r.allowMPTCP); err != nil {
		return 0, err
	}
	return signals.Run(cmd, group)
}

// refusedOr returns err, as a refusal where it is a right that is missing.
func refusedOr(err error) error {
	if errors.Is(err, cgrouppolicy.ErrRefused) {
		return refusal{cgrouppolicy.ErrRefused.Error(), err}
	}
	return err
}

// runFiltered runs the program with a seccomp filter.
func (r *runProgram) runFiltered(signals supervise.Signals, cmd *exec.Cmd) (syscall.WaitStatus, error) {
	p, err := seccomppolicy.New(r.policy, r.allowMPTCP)
	if err != nil {
		return 0, err
	}
	if err := cgrouppolicy.SetInherited(r.policy, r.allowMPTCP); err != nil {
		return 0, err
	}
	return signals.RunFiltered(cmd, p)
}
