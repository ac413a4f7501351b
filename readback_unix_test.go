//go:build darwin || dragonfly || freebsd || netbsd

package keepalive_test

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// macOS has a name of its own for TCP_KEEPIDLE, TCP_KEEPALIVE.
var tcpKeepidle = map[string]int{"darwin": 0x10, "dragonfly": 0x100, "freebsd": 0x100, "netbsd": 3}[runtime.GOOS]

func getsockopts(fd uintptr) (options, error) {
	on, err1 := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	idle, err2 := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, tcpKeepidle)
	interval, err3 := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
	count, err4 := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	return options{on != 0, idle, interval, count}, errors.Join(err1, err2, err3, err4)
}
