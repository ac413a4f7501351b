package sockopt

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disconnect ends the connection fd with a reset. What is unsent and what is unread
// is dropped, and blocked calls return. [unix.Connect] can't do it.
func Disconnect(fd uintptr) error {
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec))
	if errno != 0 {
		return errno
	}
	return nil
}
