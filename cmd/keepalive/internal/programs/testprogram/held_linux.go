package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// held prints what each TCP socket of another process holds.
func held() error {
	pid, err := strconv.Atoi(flag.Arg(0))
	if err != nil {
		return err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return err
	}
	for _, link := range links {
		number, err := strconv.Atoi(filepath.Base(link))
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0)
		if err != nil {
			return os.NewSyscallError("pidfd_getfd", err)
		}
		if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err == nil && protocol == unix.IPPROTO_TCP {
			var values []int
			for _, option := range [][2]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}, {unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS},
			} {
				value, err := unix.GetsockoptInt(fd, option[0], option[1])
				if err != nil {
					return os.NewSyscallError("getsockopt", err)
				}
				values = append(values, value)
			}
			line := fmt.Sprint(values)
			fmt.Println(line[1 : len(line)-1])
		}
		unix.Close(fd)
	}
	return nil
}
