package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iouring has a ring of one entry make a socket. The numbers are those of
// include/uapi/linux/io_uring.h.
func iouring() error {
	const (
		opSocket  = 45
		getEvents = 1
		offSQRing = 0
		offCQRing = 0x8000000
		offSQEs   = 0x10000000
	)
	var params [30]uint32 // struct io_uring_params
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return os.NewSyscallError("io_uring_setup", errno)
	}
	mapped := func(offset int64) ([]byte, error) {
		return unix.Mmap(int(ring), offset, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	}
	submissions, err := mapped(offSQRing)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	completions, err := mapped(offCQRing)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	entry, err := mapped(offSQEs)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	const sqTail, cqEntries = 10 + 1, 20 + 5 // in params
	entry[0] = opSocket
	binary.NativeEndian.PutUint32(entry[4:], unix.AF_INET)
	binary.NativeEndian.PutUint64(entry[8:], unix.SOCK_STREAM)
	binary.NativeEndian.PutUint32(submissions[params[sqTail]:], 1) // its array has 0, the first entry
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvents, 0, 0); errno != 0 {
		return os.NewSyscallError("io_uring_enter", errno)
	}
	fd := int(int32(binary.NativeEndian.Uint32(completions[params[cqEntries]+8:])))
	if fd < 0 {
		return fmt.Errorf("IORING_OP_SOCKET: %w", unix.Errno(-fd))
	}
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	if err != nil {
		return err
	}
	idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	fmt.Println("SO_KEEPALIVE", on, "TCP_KEEPIDLE", idle)
	return err
}
