//go:build linux || darwin || dragonfly || freebsd || netbsd

package tcptest

import (
	"errors"

	"golang.org/x/sys/unix"
)

func getsockoptInt(fd uintptr, level, number int) (int, error) {
	return unix.GetsockoptInt(int(fd), level, number)
}

func lacksOption(err error) bool {
	return errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP)
}
