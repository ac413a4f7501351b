// Package supervise runs a program in a control group as if nothing stood
// between it and its caller: signals are passed on, and so is how it ended.
package supervise

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/cgroup"
)

// Interrupted is the signal that came before the program was started.
type Interrupted struct{ syscall.Signal }

func (i Interrupted) Error() string { return i.String() }

// Run starts cmd in the group and returns how it ended, once no process is left
// in the group or below it. Signals go to the program, and after its end to all
// processes that are left.
func (s Signals) Run(cmd *exec.Cmd, group *cgroup.Group) (syscall.WaitStatus, error) {
	return s.run(cmd, inGroup{group})
}

// A program is what runs, with the processes that it starts.
type program interface {
	// start starts it by a thread that lives as long as the program.
	start(*exec.Cmd) error

	// wait waits until no process is left. Childless is closed once no process is
	// left that this one would have to reap.
	wait(childless <-chan struct{}) error

	processes() []int
}

func (s Signals) run(cmd *exec.Cmd, p program) (syscall.WaitStatus, error) {
	if n, ok := s.interrupted(); ok {
		return 0, Interrupted{n}
	}
	if err := start(cmd, p); err != nil {
		return 0, err
	}
	for len(s) > 0 { // even those of a terminal: they may have come before the program was there
		cmd.Process.Signal(<-s)
	}
	ended, childless := make(chan syscall.WaitStatus, 1), make(chan struct{})
	go func() {
		reap(cmd.Process, ended)
		close(childless)
	}()
	return s.passOn(cmd.Process, p, ended, childless)
}

// passOn passes signals on until no process of p is left, of which first was started.
func (s Signals) passOn(first *os.Process, p program, ended <-chan syscall.WaitStatus, childless <-chan struct{}) (syscall.WaitStatus, error) {
	var status syscall.WaitStatus
	empty := make(chan error, 1)
	for running := true; ; {
		select {
		case n := <-s:
			if !running {
				signalAll(p, n)
			} else if !fromTerminal(n) && errors.Is(first.Signal(n), os.ErrProcessDone) {
				signalAll(p, n) // it is reaped: ended is about to say so
			}
		case status = <-ended:
			running = false
			go func() { empty <- p.wait(childless) }()
		case err := <-empty:
			return status, err
		}
	}
}

// start starts the program with none of the capabilities that this process needs
// for eBPF, unless it is root's.
func start(cmd *exec.Cmd, p program) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: it has other capabilities
		err := lowerAmbient(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
		if err == nil {
			err = p.start(cmd)
		}
		started <- err
		select {} // PR_SET_PDEATHSIG is about the thread
	}()
	return <-started
}

// inGroup is a program in a control group of its own.
type inGroup struct{ *cgroup.Group }

func (g inGroup) start(cmd *exec.Cmd) error {
	dir, err := g.Directory()
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	if isActivated() {
		return startByShim(cmd, nil)
	}
	return cmd.Start()
}

func (g inGroup) wait(<-chan struct{}) error { return g.Wait() }

func (g inGroup) processes() []int {
	pids, _ := g.Processes() // those that could be read
	return pids
}

// lowerAmbient has programs that this thread starts not get the capabilities by
// way of the ambient set, see capabilities(7).
func lowerAmbient(capabilities ...uintptr) error {
	for _, c := range capabilities {
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_LOWER, c, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) { // a kernel that does not know the capability
			return os.NewSyscallError("prctl PR_CAP_AMBIENT_LOWER", err)
		}
	}
	return nil
}

// reap waits for the process, and for the orphans that this process gets where it
// is the first one of a PID namespace or a subreaper. It returns once there is no
// child.
func reap(p *os.Process, ended chan<- syscall.WaitStatus) {
	for running := true; ; {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case pid == p.Pid && running: // an orphan may have its number later
			running = false
			ended <- status
		case err != nil && err != unix.EINTR:
			return
		}
	}
}

func signalAll(p program, s os.Signal) {
	for _, pid := range p.processes() {
		unix.Kill(pid, s.(syscall.Signal))
	}
}
