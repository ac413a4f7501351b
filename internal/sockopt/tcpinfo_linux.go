package sockopt

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCPInfo reads TCP_INFO of the socket fd. Unlike [unix.GetsockoptTCPInfo] it
// allocates nothing and returns an error where the kernel fills in too little.
func TCPInfo(fd uintptr, info *unix.TCPInfo) error {
	size := uint32(unsafe.Sizeof(*info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return &Error{Call: "getsockopt", Option: "TCP_INFO", Err: errno}
	}
	return checkTCPInfoSize(size)
}

// checkTCPInfoSize accepts what every kernel fills in, a newer one more than an
// older one: tcpi_total_retrans ends the struct of Linux 2.6. An emulator may
// hand over less: qemu-user one int.
func checkTCPInfoSize(size uint32) error {
	const needed = unsafe.Offsetof(unix.TCPInfo{}.Total_retrans) + unsafe.Sizeof(unix.TCPInfo{}.Total_retrans)
	if size < uint32(needed) {
		return fmt.Errorf("keepalive: getsockopt TCP_INFO: %d bytes instead of %d: %w", size, needed, errors.ErrUnsupported)
	}
	return nil
}
