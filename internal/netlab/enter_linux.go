package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter returns at once where the process may silence peers. Otherwise it runs
// the same program, with the same arguments, in user and network namespaces of
// its own and exits with its exit code. An error says why neither is possible.
func Enter() error {
	if os.Getenv(inside) != "" {
		return loopbackUp()
	}
	refused := trySilence()
	if refused == nil || !errors.Is(refused, os.ErrPermission) {
		return refused
	}
	return enter(refused)
}

// enter runs the program again and exits with its exit code. The error it
// returns says what the kernel refused, before and then.
func enter(refused error) error {
	runtime.LockOSThread() // Pdeathsig counts from the end of the thread
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	isolate(cmd, true)
	// The terminal sends its signals to both. The program inside answers them.
	signal.Ignore(os.Interrupt, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		signal.Reset(os.Interrupt, syscall.SIGQUIT)
		return fmt.Errorf("%w, and no user namespace: %w", refused, err)
	}
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	go func() {
		for s := range terminate {
			cmd.Process.Signal(s)
		}
	}()
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		os.Exit(code)
	}
	os.Exit(1) // ended by a signal
	return nil
}

// Isolate prepares cmd, a program that calls [Enter], to run in a network
// namespace of its own, which is empty but for a loopback device. Where this
// process may not make one, the program gets a user namespace too, as with
// Enter. It is killed with the thread that starts it.
func Isolate(cmd *exec.Cmd) {
	isolate(cmd, errors.Is(tryNamespace(), os.ErrPermission))
}

func isolate(cmd *exec.Cmd, asUser bool) {
	cmd.Env = append(cmd.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if asUser {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
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

// trySilence silences a connection of its own.
func trySilence() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	tcp := conn.(*net.TCPConn)
	tcp.SetLinger(0) // a silenced connection never hears that its FIN arrived
	return Silence(tcp)
}

// loopbackUp brings the loopback device of the thread's network namespace up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}
