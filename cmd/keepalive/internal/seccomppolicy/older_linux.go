package seccomppolicy

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

const closed = 7 // TCP_CLOSE of include/net/tcp_states.h

// answerConnecting sets the policy on the program's own socket, if that is TCP's,
// and neither connected nor listening yet.
func (s *Server) answerConnecting(n *notification) response {
	number := int(int32(n.args[0]))
	fd, err := descriptor(n.tid, number)
	switch err {
	case nil:
		defer unix.Close(fd)
		if !isDescriptor(n.tid, number, fd) {
			return s.leave(n, ownDescriptors)
		}
	case unix.EBADF: // the call fails too
		if exists(n.tid, number) {
			return s.leave(n, ownDescriptors)
		}
		return proceed(n)
	default:
		return s.leave(n, "keepalive can't get at its sockets: "+err.Error())
	}
	if !s.listener.isValid(n.id) { // another thread may have its number, and this be a socket of that one
		return proceed(n)
	}
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != unix.SOCK_STREAM {
		return proceed(n)
	}
	if protocol := policy.Protocol(uintptr(fd)); protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return proceed(n)
	}
	if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil && info.State != closed {
		return proceed(n)
	}
	if err := policy.SetUnconnected(uintptr(fd), s.policy.config); err != nil {
		return s.leave(n, err.Error())
	}
	return proceed(n)
}

// CheckAccess returns an error if this process has to get at the sockets of a
// process with the filter, as before Linux 5.19, and may not.
func (p *Policy) CheckAccess(pid int) error {
	if !p.older {
		return nil
	}
	const none = -1 // a number that no descriptor has
	if _, err := descriptor(uint32(pid), none); err != unix.EBADF {
		return fmt.Errorf("seccomp: before Linux 5.19 keepalive has to get at the sockets of the program, which is refused: %w: "+
			"kernel.yama.ptrace_scope above 1 is in the way, or a security module", err)
	}
	return nil
}

// ownDescriptors is why pidfd_getfd(2), which asks the first thread of a process,
// does not get the socket of another one.
const ownDescriptors = "its thread does not share the descriptors of its process"

// isDescriptor reports whether fd is a copy of a thread's descriptor.
func isDescriptor(tid uint32, number, fd int) bool {
	var own, theirs unix.Stat_t
	return unix.Fstat(fd, &own) == nil && unix.Stat(descriptorPath(tid, number), &theirs) == nil &&
		own.Dev == theirs.Dev && own.Ino == theirs.Ino
}

// exists reports whether a thread has a descriptor.
func exists(tid uint32, number int) bool {
	var stat unix.Stat_t
	return unix.Stat(descriptorPath(tid, number), &stat) == nil
}

func descriptorPath(tid uint32, number int) string {
	return fmt.Sprintf("/proc/%d/fd/%d", tid, number)
}

// descriptor returns a copy of a descriptor of a thread's process.
func descriptor(tid uint32, number int) (int, error) {
	process, err := processOf(tid)
	if err != nil {
		return -1, err
	}
	pidfd, err := unix.PidfdOpen(process, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, number, 0)
}

// processOf returns the process that a thread belongs to.
func processOf(tid uint32) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if number, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			return strconv.Atoi(string(bytes.TrimSpace(number)))
		}
	}
	return 0, unix.ESRCH
}
