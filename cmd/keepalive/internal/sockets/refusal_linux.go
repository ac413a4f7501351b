package sockets

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
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
	target := readStatus(strconv.Itoa(pid))
	r := Refusal{Process: Process{pid, printable(target.command)}, User: target.user(), Err: err}
	switch {
	case errors.Is(err, unix.ENOSYS):
		r.Reason = "pidfd_getfd takes Linux 5.6, and a container that lets it pass"
	case errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE):
		r.Reason = "the limit of open files is reached"
	case !errors.Is(err, os.ErrPermission):
		r.Reason = "it can't be read"
	default:
		r.Reason = missingRight(readStatus("self"), target, readYama(), isPidfdCall(err))
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

func missingRight(self, target status, yama int, attach bool) string {
	const takes = ", so it takes CAP_SYS_PTRACE, which root has"
	switch may := self.effective&(1<<unix.CAP_SYS_PTRACE) != 0; {
	case attach && yama >= 3:
		return "kernel.yama.ptrace_scope is 3, so nobody may until the next boot"
	case may && self.nested:
		return "it is outside of this user namespace, so it takes CAP_SYS_PTRACE in its own"
	case may:
		return "a seccomp filter or a security module (SELinux, AppArmor) forbids it"
	case !target.runsAs(self):
		return "it belongs to another user" + takes
	case attach && yama > 0:
		return fmt.Sprintf("kernel.yama.ptrace_scope is %d%s", yama, takes)
	case target.permitted&^self.permitted != 0:
		return "it has capabilities that the caller lacks" + takes
	case target.userNS != self.userNS:
		return "it is in another user namespace" + takes + " there"
	case !target.dumpable:
		return "it is not dumpable, as after a change of its user" + takes
	}
	return "a seccomp filter or a security module (SELinux, AppArmor) forbids it"
}

// status is what the kernel lets everyone know of a process, of what matters.
type status struct {
	command              string
	uids, gids           []string // real, effective, saved set, file system
	permitted, effective uint64   // capabilities
	dumpable             bool
	nested               bool   // not in the initial user namespace
	userNS               string // "" where that can't be read
}

func readStatus(pid string) status {
	dir := "/proc/" + pid
	s := status{dumpable: true}
	text, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			s.command = value
		case "Uid":
			s.uids = strings.Fields(value)
		case "Gid":
			s.gids = strings.Fields(value)
		case "CapPrm":
			s.permitted, _ = strconv.ParseUint(value, 16, 64)
		case "CapEff":
			s.effective, _ = strconv.ParseUint(value, 16, 64)
		}
	}
	// Files of a process that is not dumpable belong to root: proc(5).
	if info, err := os.Stat(dir); err == nil && len(s.uids) > 1 {
		s.dumpable = s.uids[1] == strconv.FormatUint(uint64(info.Sys().(*syscall.Stat_t).Uid), 10)
	}
	uidMap, err := os.ReadFile(dir + "/uid_map")
	s.nested = err == nil && !slices.Equal(strings.Fields(string(uidMap)), []string{"0", "0", "4294967295"})
	s.userNS, _ = os.Readlink(dir + "/ns/user")
	return s
}

// runsAs reports whether a process has no other user or group than the real ones
// of the caller.
func (s status) runsAs(self status) bool {
	same := func(ids, own []string) bool {
		return len(own) > 0 && len(ids) > 2 && !slices.ContainsFunc(ids[:3], func(id string) bool { return id != own[0] })
	}
	return same(s.uids, self.uids) && same(s.gids, self.gids)
}

func (s status) user() string {
	if len(s.uids) < 2 {
		return "?"
	}
	if u, err := user.LookupId(s.uids[1]); err == nil {
		return u.Username
	}
	return s.uids[1]
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
