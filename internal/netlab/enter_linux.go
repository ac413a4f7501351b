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
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
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
