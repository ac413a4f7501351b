package seccomppolicy

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A notification is struct seccomp_notif of include/uapi/linux/seccomp.h.
type notification struct {
	id          uint64
	tid         uint32 // in the PID namespace of this process, 0 where it has none
	flags       uint32
	nr          uint32
	arch        uint32
	instruction uint64
	args        [6]uint64
}

// A response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	value int64
	errno int32 // negative
	flags uint32
}

// An addition is struct seccomp_notif_addfd.
type addition struct {
	id      uint64
	flags   uint32
	source  uint32
	target  uint32
	fdFlags uint32
}

// A listener receives the calls that a filter stops, and answers them.
type listener int

func (l listener) ioctl(request uintptr, argument unsafe.Pointer) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l), request, uintptr(argument))
	return int(n), errno
}

// receive waits for the next call. The error is ENOENT if the thread has given it
// up meanwhile, or nobody is left who could make one.
func (l listener) receive(n *notification) unix.Errno {
	*n = notification{} // the kernel demands zeros
	_, errno := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n))
	return errno
}

func (l listener) send(r response) unix.Errno {
	_, errno := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
	return errno
}

// isValid reports whether the thread still waits for an answer, and so still has
// its number.
func (l listener) isValid(id uint64) bool {
	// SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR, the number that older kernels know too.
	const idValid = 0x80082102
	_, errno := l.ioctl(idValid, unsafe.Pointer(&id))
	return errno == 0
}

// add gives the thread a copy of a descriptor and returns its number, the lowest
// that is free. SECCOMP_ADDFD_FLAG_SEND would answer as well, and have socket(2)
// return 0 where a signal interrupts this ioctl at a bad moment.
func (l listener) add(id uint64, fd int, flags uint32) (number int, errno unix.Errno) {
	a := addition{id: id, source: uint32(fd), fdFlags: flags}
	for {
		number, errno = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&a))
		if errno != unix.EINTR {
			return number, errno
		}
	}
}

// wakeSynchronously has the kernel hand the processor over to who waits, which
// Linux can since 6.6.
func (l listener) wakeSynchronously() {
	unix.Syscall(unix.SYS_IOCTL, uintptr(l), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// poll waits for an event, and returns whether the filter has no user any more.
// Before Linux 5.9 the kernel does not tell.
func (l listener) poll(events int16) (unused bool) {
	fds := []unix.PollFd{{Fd: int32(l), Events: events}}
	for {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			return err != nil || fds[0].Revents&^events != 0
		}
	}
}
