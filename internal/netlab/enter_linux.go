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

// Values of inside: the process was started by Isolate, or by Enter or Main.
const (
	isolated = "isolated"
	entered  = "entered"
)

// noRights is the exit code of a process that has no rights inside either. Go,
// its race detector and shells use others.
const noRights = 113

// Enter returns at once where the process may silence peers. Otherwise it runs
// the same program, with the same arguments, in user and network namespaces of
// its own and exits with its exit code. An error says why neither is possible.
func Enter() error {
	if os.Getenv(inside) != "" {
		return settle()
	}
	refused := trySilence()
	if refused == nil || !errors.Is(refused, os.ErrPermission) {
		return refused
	}
	return enter(refused)
}

// settle makes the process's own network fit to use. Some systems let everyone
// make a user namespace, but refuse rights in it: what enter started ends then,
// and enter goes on outside.
func settle() error {
	err := loopbackUp()
	if errors.Is(err, os.ErrPermission) && os.Getenv(inside) == entered {
		os.Exit(noRights)
	}
	return err
}

// enter runs the program again and exits with its exit code. The error it
// returns says what the kernel refused, before and then.
func enter(refused error) error {
	code, err := again()
	if err == nil && code == noRights {
		err = errors.New("no rights in it, see kernel.apparmor_restrict_unprivileged_userns")
	}
	if err != nil {
		return fmt.Errorf("%w, and a user namespace is no help: %w", refused, err)
	}
	os.Exit(code)
	return nil
}

// again runs the program in namespaces of its own and returns its exit code.
func again() (code int, err error) {
	runtime.LockOSThread() // Pdeathsig counts from the end of the thread
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	isolate(cmd, entered, true)
	signals := make(chan os.Signal, len(ending))
	defer close(signals)
	catch(signals)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go forward(signals, cmd.Process)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code, nil
	}
	return 1, nil // ended by a signal
}

// ending are the signals that end a program, of which the terminal's keys send
// all but the last.
var ending = []os.Signal{os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM}

// catch leaves alone what is ignored, so that it is inside too.
func catch(signals chan<- os.Signal) {
	for _, s := range ending {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
}

// forward has a process of the same process group answer the signals. Those of
// the terminal's keys have reached it already.
func forward(signals <-chan os.Signal, to *os.Process) {
	for s := range signals {
		if s == syscall.SIGTERM || !inForeground() {
			to.Signal(s)
		}
	}
}

// inForeground reports whether the terminal sends the signals of its keys to the
// process group of this process.
func inForeground() bool {
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(tty)
	group, err := unix.IoctlGetUint32(tty, unix.TIOCGPGRP)
	return err == nil && int(group) == unix.Getpgrp()
}

// Isolate prepares cmd, a program that calls [Enter], to run in a network
// namespace of its own, which is empty but for a loopback device. Where this
// process may not make one, the program gets a user namespace too, as with
// Enter. It is killed with the thread that starts it.
func Isolate(cmd *exec.Cmd) {
	isolate(cmd, isolated, errors.Is(tryNamespace(), os.ErrPermission))
}

func isolate(cmd *exec.Cmd, marker string, asUser bool) {
	cmd.Env = append(cmd.Environ(), inside+"="+marker)
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
