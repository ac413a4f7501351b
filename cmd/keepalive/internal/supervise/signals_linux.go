package supervise

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals are those that reach this process and are meant for the program.
type Signals chan os.Signal

// Catch keeps signals until [Signals.Run] passes them on. It leaves alone those
// that stop this process, and those by which the kernel tells about it: SIGTSTP,
// SIGTTIN, SIGTTOU, SIGCHLD, SIGPIPE, SIGURG, SIGPROF and what a fault raises.
//
// SIGCONT and SIGWINCH reach the program twice where a shell or a terminal sends
// them to the whole process group. That does no harm.
//
// SIGHUP and SIGINT that are ignored stay so, for the program too. Others that
// the caller ignores are not: Go's runtime handles them from the start.
func Catch() Signals {
	caught := []syscall.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2,
		unix.SIGALRM, unix.SIGVTALRM, unix.SIGTERM, unix.SIGIO, unix.SIGPWR, unix.SIGCONT, unix.SIGWINCH,
	}
	const first, last = 35, 64 // of the real-time signals, as far as Go can catch them
	for n := syscall.Signal(first); n <= last; n++ {
		caught = append(caught, n)
	}
	s := make(Signals, 64)
	for _, n := range caught {
		if !signal.Ignored(n) {
			signal.Notify(s, n)
		}
	}
	return s
}

// interrupted returns the first signal so far that would have ended a program.
func (s Signals) interrupted() (syscall.Signal, bool) {
	for len(s) > 0 {
		if n := <-s; n != unix.SIGCONT && n != unix.SIGWINCH {
			return n.(syscall.Signal), true
		}
	}
	return 0, false
}

// Stop ends what Catch began.
func (s Signals) Stop() { signal.Stop(s) }

// fromTerminal reports whether a terminal has sent the signal, to the whole
// process group, so that the program has got it too. It is wrong about a signal
// that somebody sends with kill(1) to this process alone while the terminal is
// its own.
func fromTerminal(s os.Signal) bool {
	return (s == unix.SIGINT || s == unix.SIGQUIT) && inForeground()
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

// Die ends this process by the signal that ended the program, since shells and
// systemd tell that from an exit code. It returns where that is impossible, as
// for the first process of a PID namespace.
func Die(s syscall.Signal) {
	// The program has dumped its core, if it was to.
	unix.Setrlimit(unix.RLIMIT_CORE, new(unix.Rlimit))
	// signal.Reset would have Go answer some signals with a stack trace. A
	// struct sigaction of zeros is SIG_DFL everywhere.
	var action [64]byte
	const sizeofSigset = 8
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, sizeofSigset, 0, 0)
	unix.Tgkill(unix.Getpid(), unix.Gettid(), s)
}
