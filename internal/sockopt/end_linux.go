package sockopt

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// TakeError returns SO_ERROR of the socket fd, 0 for none, and clears it.
func TakeError(fd uintptr) syscall.Errno {
	errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return 0
	}
	return syscall.Errno(errno)
}
