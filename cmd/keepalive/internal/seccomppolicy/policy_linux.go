// Package seccomppolicy holds the TCP sockets of a program, and of the programs
// that it starts, to a keepalive policy by seccomp user notification, which takes
// no right. See seccomp(2) and seccomp_unotify(2).
//
// A filter stops each socket(2) that makes a TCP socket. This process makes the
// socket in its place, sets the policy, and hands it over. setsockopt(2) of an
// option of the policy succeeds without effect.
//
// Linux before 5.19 lacks what makes that safe: a signal would have the program
// repeat socket(2), and leak a descriptor. There the filter stops connect(2) and
// listen(2) instead, this process sets the policy on the program's own socket, and
// the call goes on.
package seccomppolicy

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A Policy is how the sockets of a program are held to a keepalive policy here.
type Policy struct {
	config policy.Config
	mptcp  bool
	older  bool // Linux before 5.19
}

// New returns an error where this system lacks what it takes, or has sockets that
// refuse the policy. Without mptcp a program can make no MPTCP sockets.
func New(c keepalive.Config, mptcp bool) (*Policy, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if native == nil {
		return nil, fmt.Errorf("seccomp: keepalive knows the system calls of amd64 and arm64, not of %s", runtime.GOARCH)
	}
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("seccomp: /proc is not that of the PID namespace of this process: mount -t proc proc /proc, as unshare --mount-proc does")
	}
	p := &Policy{config: policy.Config(c), mptcp: mptcp}
	switch err := accepts(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV); err {
	case nil:
	case unix.EINVAL:
		p.older = true
		if err := checkOlder(); err != nil {
			return nil, err
		}
	default:
		return nil, explain(err)
	}
	return p, p.try()
}

// accepts returns nil if the kernel knows the flags of a filter. It reads the
// filter after them: here there is none.
func accepts(flags uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, 0)
	if errno == unix.EFAULT {
		return nil
	}
	return errno
}

// checkOlder returns an error where a socket of the program can't be reached.
func checkOlder() error {
	if err := accepts(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER); err != nil {
		return explain(err)
	}
	_, err := unix.PidfdGetfd(-1, 0, 0)
	switch {
	case errors.Is(err, unix.EBADF):
		return nil
	case errors.Is(err, unix.ENOSYS):
		return errors.New("seccomp: it takes Linux 5.6, or better 5.19")
	}
	return fmt.Errorf("seccomp: before Linux 5.19 it takes pidfd_getfd(2), which is refused: %w: "+
		"the seccomp filter of a container is in the way, as Docker's default one is without CAP_SYS_PTRACE", err)
}

// explain says what an error of seccomp(2) comes from.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("seccomp: %w: this process runs under another keepalive run, or under a container runtime that uses seccomp user notification, and the kernel allows one: "+
			"want the policy of the outer one alone", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("seccomp: %w: it takes Linux 5.6 with CONFIG_SECCOMP_FILTER", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("seccomp: %w: the seccomp filter of a container or a unit is in the way", err)
	}
	return fmt.Errorf("seccomp: %w", err)
}

// try sets the policy on a socket of this process.
func (p *Policy) try() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return policy.SetUnconnected(uintptr(fd), p.config)
}

// Filter returns what [Install] needs.
func (p *Policy) Filter() []unix.SockFilter { return compile(native.rules(p)) }

// Install puts the filter in force for this thread, and for the processes that it
// starts from then on, which it deprives of the rights of set-user-ID programs.
// It returns the descriptor that [Policy.Serve] needs. Where nobody has it open,
// the calls that the filter stops fail with ENOSYS.
func Install(filter []unix.SockFilter) (listener int, err error) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	// Before Linux 5.16 a filter slows the processor down, unless it is not there to
	// confine anybody: spec_store_bypass_disable in the kernel's documentation.
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	if killable := flags | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV; accepts(killable) == nil {
		flags = killable
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, explain(errno)
	}
	return int(fd), nil
}
