package sockets

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/credentials"
)

// The rules of ptrace(2) and Documentation/admin-guide/LSM/Yama.rst.
func TestMissingRight(t *testing.T) {
	t.Parallel()
	ids := func(id string) []string { return []string{id, id, id, id} }
	user := func(id string) credentials.Credentials {
		return credentials.Credentials{UIDs: ids(id), GIDs: ids(id), Dumpable: true, UserNS: "user:[1]"}
	}
	with := func(s credentials.Credentials, change func(*credentials.Credentials)) credentials.Credentials {
		change(&s)
		return s
	}
	const ptrace = 1 << unix.CAP_SYS_PTRACE
	root := with(user("0"), func(s *credentials.Credentials) { s.Permitted, s.Effective = ptrace|1, ptrace|1 })
	for name, test := range map[string]struct {
		self, target credentials.Credentials
		yama         int
		attach       bool
		want         string
	}{
		"another user":       {user("7"), user("8"), 0, false, "it belongs to another user, so it takes CAP_SYS_PTRACE, which root has"},
		"another user, yama": {user("7"), user("8"), 1, true, "it belongs to another user, so it takes CAP_SYS_PTRACE, which root has"},
		"saved id": {user("7"), with(user("7"), func(s *credentials.Credentials) { s.UIDs = []string{"7", "7", "0", "7"} }), 0, false,
			"it belongs to another user, so it takes CAP_SYS_PTRACE, which root has"},
		"group": {user("7"), with(user("7"), func(s *credentials.Credentials) { s.GIDs = ids("8") }), 0, false,
			"it belongs to another user, so it takes CAP_SYS_PTRACE, which root has"},
		"yama 1":           {user("7"), user("7"), 1, true, "kernel.yama.ptrace_scope is 1, so it takes CAP_SYS_PTRACE, which root has"},
		"yama 2":           {user("7"), user("7"), 2, true, "kernel.yama.ptrace_scope is 2, so it takes CAP_SYS_PTRACE, which root has"},
		"yama 3":           {root, user("7"), 3, true, "kernel.yama.ptrace_scope is 3, so nobody may until the next boot"},
		"yama lets list":   {user("7"), user("7"), 1, false, "a seccomp filter or a security module (SELinux, AppArmor) forbids it"},
		"capabilities":     {user("7"), with(user("7"), func(s *credentials.Credentials) { s.Permitted = 1 << 10 }), 0, true, "it has capabilities that the caller lacks, so it takes CAP_SYS_PTRACE, which root has"},
		"not dumpable":     {user("7"), with(user("7"), func(s *credentials.Credentials) { s.Dumpable = false }), 0, true, "it is not dumpable, as after a change of its user, so it takes CAP_SYS_PTRACE, which root has"},
		"user namespace":   {user("7"), with(user("7"), func(s *credentials.Credentials) { s.UserNS = "user:[2]" }), 0, true, "it is in another user namespace, so it takes CAP_SYS_PTRACE, which root has there"},
		"nested":           {with(root, func(s *credentials.Credentials) { s.Nested = true }), user("65534"), 0, true, "it is outside of this user namespace, so it takes CAP_SYS_PTRACE in its own"},
		"root, forbidden":  {root, user("7"), 0, true, "a seccomp filter or a security module (SELinux, AppArmor) forbids it"},
		"equal, forbidden": {user("7"), user("7"), 0, true, "a seccomp filter or a security module (SELinux, AppArmor) forbids it"},
	} {
		assert.Equal(t, test.want, missingRight(test.self, test.target, test.yama, test.attach), name)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		os.NewSyscallError("pidfd_getfd", unix.ENOSYS): "pidfd_getfd takes Linux 5.6, and a container that lets it pass",
		os.NewSyscallError("pidfd_getfd", unix.EMFILE): "the limit of open files is reached",
		os.NewSyscallError("open", unix.EIO):           "it can't be read",
	} {
		r := explain(os.Getpid(), err)
		assert.Equal(t, want, r.Reason)
		assert.ErrorIs(t, r, err)
		assert.Contains(t, r.Error(), fmt.Sprintf("[%d] of user ", os.Getpid()))
	}
	assert.True(t, isPidfdCall(os.NewSyscallError("pidfd_getfd", unix.EPERM)))
	assert.False(t, isPidfdCall(&os.PathError{Op: "open", Path: "/proc/1/fd", Err: unix.EACCES}))
}
