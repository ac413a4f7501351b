package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// become makes a connection as another user, which it becomes in this process, as
// servers do that root starts.
func become() error {
	id, err := strconv.Atoi(flag.Arg(0))
	if err != nil {
		return err
	}
	if err := syscall.Setgid(id); err != nil {
		return os.NewSyscallError("setgid", err)
	}
	if err := syscall.Setuid(id); err != nil {
		return os.NewSyscallError("setuid", err)
	}
	if err := owner(); err != nil {
		return err
	}
	return pair()
}

// namespace makes a connection in a network namespace of its own, which the thread
// enters, and one by another thread in the old one.
func namespace() error {
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		entered <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("unshare", err)
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return os.NewSyscallError("socket", err)
			}
			defer unix.Close(fd)
			return report("new", fd)
		}()
	}()
	if err := <-entered; err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return report("old", fd)
}

// report prints whether a socket is in the network namespace of this thread, and
// how long it waits for the first probe.
func report(name string, fd int) error {
	idle, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
	if err != nil {
		return err
	}
	if err := unix.Listen(fd, 1); err != nil {
		return os.NewSyscallError("listen", err)
	}
	_, err = userInTable(fd)
	fmt.Println(name, err == nil, idle)
	return nil
}
