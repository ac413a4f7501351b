package main

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls prints what system calls about TCP sockets return, and what the sockets
// are like. It prints the same with a policy and without.
func calls() error {
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_UNIX} {
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			for _, flags := range []int{0, unix.SOCK_CLOEXEC, unix.SOCK_NONBLOCK, unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, 1 << 8, 1 << 20} {
				for _, protocol := range []int{0, unix.IPPROTO_TCP, unix.IPPROTO_UDP, 255, -1} {
					fmt.Println(domain, typ, flags, protocol, describe(unix.Socket(domain, typ|flags, protocol)))
				}
			}
		}
	}
	if err := descriptors(); err != nil {
		return err
	}
	setsockopts()
	return owner()
}

// describe returns what a new descriptor is, which it closes.
func describe(fd int, err error) string {
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	descriptor, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	file, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	link, _ := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
	kind, _, _ := strings.Cut(link, ":")
	var stat unix.Stat_t
	unix.Fstat(fd, &stat)
	held := []int{fd, descriptor, file, int(stat.Mode), int(stat.Uid), int(stat.Gid)}
	for _, option := range []int{unix.SO_DOMAIN, unix.SO_TYPE, unix.SO_PROTOCOL, unix.SO_REUSEADDR, unix.SO_SNDBUF, unix.SO_RCVBUF, unix.SO_MARK, unix.SO_PRIORITY} {
		value, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		held = append(held, value)
	}
	return fmt.Sprint(kind, held)
}

// descriptors prints which descriptors sockets get, up to the limit of open files.
func descriptors() error {
	const limit = 32
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		return err
	}
	fmt.Println("limits", before)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}); err != nil {
		return err
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	var open []int
	for {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		fmt.Println("descriptor", fd, err)
		if err != nil {
			break
		}
		open = append(open, fd)
	}
	for _, i := range []int{len(open) - 2, 1} {
		unix.Close(open[i])
	}
	for range 3 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		fmt.Println("descriptor", fd, err)
	}
	for _, fd := range open {
		unix.Close(fd)
	}
	return nil
}

// setsockopts prints what setsockopt returns for values of any length.
func setsockopts() {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer unix.Close(fd)
	value := [8]uint32{5}
	for _, option := range [][2]uintptr{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}, {unix.IPPROTO_TCP, unix.TCP_NODELAY},
	} {
		for _, length := range []int32{-1, 0, 1, 3, 4, 5, 8, 32} {
			for _, pointer := range []unsafe.Pointer{nil, unsafe.Pointer(&value)} {
				_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), option[0], option[1], uintptr(pointer), uintptr(length), 0)
				fmt.Println("setsockopt", option, length, pointer == nil, errno)
			}
		}
		for _, length := range []int32{0, 1, 3, 4, 5, 8} {
			got := length
			_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), option[0], option[1], uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&got)), 0)
			fmt.Println("getsockopt", option, length, got, errno)
		}
	}
}

// owner prints the user of a listening socket in /proc/net/tcp.
func owner() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Listen(fd, 1); err != nil {
		return err
	}
	uid, err := userInTable(fd)
	fmt.Println("uid", uid)
	return err
}

// userInTable returns the user of a listening socket of this thread's network
// namespace.
func userInTable(fd int) (uid string, err error) {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return "", err
	}
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); fields[1] == fmt.Sprintf("00000000:%04X", address.(*unix.SockaddrInet4).Port) {
			return fields[7], nil
		}
	}
	return "", fmt.Errorf("/proc/thread-self/net/tcp lacks %v", address)
}
