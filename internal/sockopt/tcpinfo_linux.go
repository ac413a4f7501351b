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
		return newError("getsockopt", "TCP_INFO", errno)
	}
	if err := checkTCPInfoSize(size); err != nil {
		return err
	}
	return checkTCPInfoFilled(info)
}

// checkTCPInfoFilled returns an error for gVisor, which leaves the counts and
// times at zero. Linux knows the MSS that it has advertised from the first SYN
// on. A socket that was never connected, or is closed, has none, nor has one whose
// SYN TCP Fast Open puts off.
func checkTCPInfoFilled(info *unix.TCPInfo) error {
	switch info.State {
	case 0, unix.BPF_TCP_CLOSE, unix.BPF_TCP_LISTEN, unix.BPF_TCP_SYN_SENT:
		return nil
	}
	if info.Advmss == 0 {
		return newError("getsockopt", "TCP_INFO", fmt.Errorf("the kernel fills in no counts: %w", errors.ErrUnsupported))
	}
	return nil
}

// checkTCPInfoSize accepts what every kernel fills in, a newer one more than an
// older one: tcpi_total_retrans ends the struct of Linux 2.6. An emulator may
// hand over less: qemu-user one int.
func checkTCPInfoSize(size uint32) error {
	const needed = unsafe.Offsetof(unix.TCPInfo{}.Total_retrans) + unsafe.Sizeof(unix.TCPInfo{}.Total_retrans)
	if size < uint32(needed) {
		return newError("getsockopt", "TCP_INFO", fmt.Errorf("%d bytes instead of %d: %w", size, needed, errors.ErrUnsupported))
	}
	return nil
}
