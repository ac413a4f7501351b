package sockets

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
)

// Refusal is a process that the caller may not look into. The rules are those of
// ptrace(2), "Ptrace access mode checking".
type Refusal struct {
	Process
	User   string // whose it is
	Reason string // which right is missing
	Err    error
}

func (r Refusal) Error() string {
	return fmt.Sprintf("%s[%d] of user %s: %s (%v)", r.Command, r.PID, r.User, r.Reason, r.Err)
}

func (r Refusal) Unwrap() error { return r.Err }

// explain says why the kernel refused access to a process. It goes through what
// the kernel checks, in the same order.
func explain(pid int, err error) Refusal {
	target := credentials.Of(strconv.Itoa(pid))
	r := Refusal{Process: newProcess(pid, comm(pid)), User: target.User(), Err: err}
	switch {
	case errors.Is(err, errNoThreads):
		r.Reason = errNoThreads.Error()
	case errors.Is(err, unix.ENOSYS):
		r.Reason = "pidfd_getfd takes Linux 5.6, and a container that lets it pass"
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		r.Reason = "the limit of open files is reached"
	case !errors.Is(err, os.ErrPermission):
		r.Reason = "it can't be read"
	default:
		r.Reason = missingRight(credentials.Of("self"), target, readYama(), isPidfdCall(err))
	}
	return r
}

// isPidfdCall tells the two accesses apart: only that of pidfd_getfd, which is
// PTRACE_MODE_ATTACH, is subject to Yama. To list the descriptors takes
// PTRACE_MODE_READ.
func isPidfdCall(err error) bool {
	call, ok := errors.AsType[*os.SyscallError](err)
	return ok && call.Syscall == "pidfd_getfd"
}

func missingRight(self, target credentials.Credentials, yama int, attach bool) string {
	const takes = ", so it takes CAP_SYS_PTRACE, which root has"
	switch may := self.Has(unix.CAP_SYS_PTRACE); {
	case attach && yama >= 3:
		return "kernel.yama.ptrace_scope is 3, so nobody may until the next boot"
	case may && self.Nested:
		return "it is outside of this user namespace, so it takes CAP_SYS_PTRACE in its own"
	case may:
		return "a seccomp filter or a security module (SELinux, AppArmor) forbids it"
	case !target.RunsAs(self):
		return "it belongs to another user" + takes
	case attach && yama > 0:
		return fmt.Sprintf("kernel.yama.ptrace_scope is %d%s", yama, takes)
	case target.Permitted&^self.Permitted != 0:
		return "it has capabilities that the caller lacks" + takes
	case target.UserNS != self.UserNS:
		return "it is in another user namespace" + takes + " there"
	case !target.Dumpable:
		return "it is not dumpable, as after a change of its user" + takes
	}
	return "a seccomp filter or a security module (SELinux, AppArmor) forbids it"
}

// readYama returns kernel.yama.ptrace_scope, 0 where there is no Yama.
func readYama() int {
	text, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return 0
	}
	scope, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return scope
}
