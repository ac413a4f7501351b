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
	if n, ok := s.interrupted(); ok {
		return 0, Interrupted{n}
	}
	if err := start(cmd, group); err != nil {
		return 0, err
	}
	for len(s) > 0 { // may have come from the terminal before the program was there
		cmd.Process.Signal(<-s)
	}
	ended, empty := make(chan syscall.WaitStatus, 1), make(chan error, 1)
	go func() { ended <- reap(cmd.Process) }()
	var status syscall.WaitStatus
	for running := true; ; {
		select {
		case n := <-s:
			if !running {
				signalAll(group, n)
			} else if !fromTerminal(n) {
				cmd.Process.Signal(n)
			}
		case status = <-ended:
			running = false
			go func() { empty <- group.Wait() }()
		case err := <-empty:
			return status, err
		}
	}
}

// start starts cmd with none of the capabilities that this process needs for
// eBPF, unless it is root's.
func start(cmd *exec.Cmd, group *cgroup.Group) error {
	dir, err := group.Directory()
	if err != nil {
		return err
	}
	defer dir.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := lowerAmbient(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
		switch {
		case err != nil:
		case isActivated():
			err = startByShim(cmd)
		default:
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
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
// is the first one of a PID namespace.
func reap(p *os.Process) (status syscall.WaitStatus) {
	for {
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if pid == p.Pid || err != nil && err != unix.EINTR {
			return status
		}
	}
}

func signalAll(group *cgroup.Group, s os.Signal) {
	pids, _ := group.Processes() // those that could be read
	for _, pid := range pids {
		unix.Kill(pid, s.(syscall.Signal))
	}
}
