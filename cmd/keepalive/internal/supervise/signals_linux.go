package supervise

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Signals are the signals that this process gets and passes on to the program.
type Signals chan os.Signal

// Catch keeps signals until [Signals.Run] passes them on. It leaves alone those
// that stop a process, which the terminal sends to the program itself, SIGCHLD,
// and those that Go's runtime takes before a program: SIGURG and SIGPROF, which
// are lost, and 32, 33 and 34 (SIGRTMIN), which end this process.
//
// A signal such as SIGSEGV is passed on where a process has sent it. A fault of
// this process ends it.
//
// SIGCONT and SIGWINCH reach the program twice where a shell or a terminal sends
// them to the whole process group. That does no harm.
//
// SIGHUP and SIGINT that are ignored stay so, for the program too. Others that
// the caller ignores are not: Go's runtime handles them from the start.
func Catch() Signals {
	s := make(Signals, 64)
	for n := unix.SIGHUP; n <= 64; n++ {
		if !isLeftAlone(n) && !signal.Ignored(n) {
			signal.Notify(s, n)
		}
	}
	return s
}

func isLeftAlone(n syscall.Signal) bool {
	switch n {
	case unix.SIGKILL, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, 32, 33, 34:
		return true
	}
	return false
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
