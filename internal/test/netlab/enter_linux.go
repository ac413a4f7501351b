package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Isolate prepares cmd, a program that calls [Enter], to run in a network
// namespace of its own, which is empty but for a loopback device. If this
// process may not make one, the program gets a user namespace too, in which it
// may. It is killed with the thread that starts it.
func Isolate(cmd *exec.Cmd) {
	cmd.Env = append(cmd.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if errors.Is(tryNamespace(), os.ErrPermission) {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
}

// Enter brings up the loopback device of a program that [Isolate] prepared. In
// other programs it does nothing.
func Enter() error {
	if os.Getenv(inside) == "" {
		return nil
	}
	return loopbackUp()
}

// noRights is the exit code of tests that have no rights in a user namespace
// either. Go, its race detector and shells use others.
const noRights = 113

// enterTests is [Enter] for tests. It runs them again, and exits with their exit
// code, where this process may not make network namespaces. An error says why
// that is no help.
func enterTests() error {
	if os.Getenv(inside) != "" {
		err := Enter()
		if errors.Is(err, os.ErrPermission) {
			os.Exit(noRights)
		}
		return err
	}
	refused := tryNamespace()
	if !errors.Is(refused, os.ErrPermission) {
		return refused
	}
	return fmt.Errorf("%w, and a user namespace is no help: %w", refused, again())
}

// again returns only if the program can't do more in a user namespace.
func again() error {
	runtime.LockOSThread() // with which Isolate kills
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	Isolate(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	cmd.Wait()
	code := cmd.ProcessState.ExitCode()
	if code == noRights {
		// Ubuntu 24.04 lets everyone make a user namespace, and refuses
		// rights in it.
		return errors.New("no rights in it, see kernel.apparmor_restrict_unprivileged_userns")
	}
	if code < 0 { // ended by a signal
		code = 1
	}
	os.Exit(code)
	return nil
}

// tryNamespace unshares the network on a thread that ends with it.
func tryNamespace() error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
	}()
	return <-result
}

// loopbackUp brings the loopback device of the thread's network namespace up.
func loopbackUp() error {
	return onDevice("lo", func(fd int, lo *unix.Ifreq) error {
		lo.SetUint16(unix.IFF_UP)
		return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
	})
}

// onDevice calls f with what an ioctl on a network device needs.
func onDevice(name string, f func(fd int, device *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	device, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	return f(fd, device)
}
