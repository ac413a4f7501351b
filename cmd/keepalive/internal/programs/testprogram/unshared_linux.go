package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// unshared has two sockets listen, by a thread with descriptors of its own: one at
// the number of a socket of the process, and one at a number that the process has
// free. It prints the Idle of the two, and of the socket of the process.
func unshared() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	listening := make(chan error)
	go func() { listening <- listenUnshared(fd) }()
	if err := <-listening; err != nil {
		return err
	}
	return printIdle(fd)
}

func listenUnshared(fd int) error {
	runtime.LockOSThread() // never unlocked
	if unix.Gettid() == unix.Getpid() {
		// The descriptors of the first thread are those of the process.
		listening := make(chan error)
		go func() { listening <- listenUnshared(fd) }()
		return <-listening
	}
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Close(fd); err != nil {
		return os.NewSyscallError("close", err)
	}
	for range 2 {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.Listen(s, 1); err != nil {
			return os.NewSyscallError("listen", err)
		}
		if err := printIdle(s); err != nil {
			return err
		}
	}
	return nil
}

func printIdle(fd int) error {
	idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	fmt.Println(idle)
	return os.NewSyscallError("getsockopt", err)
}
