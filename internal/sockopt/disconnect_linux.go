package sockopt

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disconnect ends the connection fd with a reset. It drops unsent and unread data,
// and wakes blocked calls. [unix.Connect] has no address of this family.
func Disconnect(fd uintptr) error {
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec))
	if errno != 0 {
		return errno
	}
	return nil
}
