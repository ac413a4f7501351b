package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Numbers of include/uapi/linux/io_uring.h.
const (
	opSocket   = 45
	opCommand  = 46
	setsockopt = 3 // since Linux 6.7
)

// iouring has a ring make a socket.
func iouring() error {
	fd, err := submit(func(entry []byte) {
		entry[0] = opSocket
		binary.NativeEndian.PutUint32(entry[4:], unix.AF_INET)
		binary.NativeEndian.PutUint64(entry[8:], unix.SOCK_STREAM)
	})
	if err != nil {
		return fmt.Errorf("IORING_OP_SOCKET: %w", err)
	}
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	if err != nil {
		return err
	}
	idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	fmt.Println("SO_KEEPALIVE", on, "TCP_KEEPIDLE", idle)
	return err
}

// uringset has a ring set an option of a socket that socket(2) has made.
func uringset() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	value := int32(77)
	var pinner runtime.Pinner
	pinner.Pin(&value)
	defer pinner.Unpin()
	_, err = submit(func(entry []byte) {
		entry[0] = opCommand
		binary.NativeEndian.PutUint32(entry[4:], uint32(fd))
		binary.NativeEndian.PutUint32(entry[8:], setsockopt)
		binary.NativeEndian.PutUint32(entry[16:], unix.IPPROTO_TCP)
		binary.NativeEndian.PutUint32(entry[20:], unix.TCP_KEEPIDLE)
		binary.NativeEndian.PutUint32(entry[44:], 4) // its length
		binary.NativeEndian.PutUint64(entry[48:], uint64(uintptr(unsafe.Pointer(&value))))
	})
	if err != nil {
		return fmt.Errorf("SOCKET_URING_OP_SETSOCKOPT: %w", err)
	}
	return printIdle(fd)
}

// submit has a ring of one entry do something, and returns the result.
func submit(fill func(entry []byte)) (int, error) {
	const (
		getEvents = 1
		offSQRing = 0
		offCQRing = 0x8000000
		offSQEs   = 0x10000000
	)
	var params [30]uint32 // struct io_uring_params
	ring, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return 0, os.NewSyscallError("io_uring_setup", errno)
	}
	mapped := func(offset int64) ([]byte, error) {
		return unix.Mmap(int(ring), offset, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	}
	submissions, err := mapped(offSQRing)
	if err != nil {
		return 0, os.NewSyscallError("mmap", err)
	}
	completions, err := mapped(offCQRing)
	if err != nil {
		return 0, os.NewSyscallError("mmap", err)
	}
	entry, err := mapped(offSQEs)
	if err != nil {
		return 0, os.NewSyscallError("mmap", err)
	}
	const sqTail, cqEntries = 10 + 1, 20 + 5 // in params
	fill(entry)
	binary.NativeEndian.PutUint32(submissions[params[sqTail]:], 1) // its array has 0, the first entry
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvents, 0, 0); errno != 0 {
		return 0, os.NewSyscallError("io_uring_enter", errno)
	}
	result := int(int32(binary.NativeEndian.Uint32(completions[params[cqEntries]+8:])))
	if result < 0 {
		return 0, unix.Errno(-result)
	}
	return result, nil
}
