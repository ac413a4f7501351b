package tcptest

import (
	"errors"

	"golang.org/x/sys/windows"
)

// The numbers of TCP options are those of ws2ipdef.h.
const (
	solSocket      = windows.SOL_SOCKET
	soKeepalive    = windows.SO_KEEPALIVE
	ipprotoTCP     = windows.IPPROTO_TCP
	tcpKeepidle    = 3
	tcpKeepcnt     = 16
	tcpKeepintvl   = 17
	tcpUserTimeout = 0
	tcpRTOMaxMs    = 0
)

func getsockoptInt(fd uintptr, level, number int) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), level, number)
}

func lacksOption(err error) bool { return errors.Is(err, windows.WSAENOPROTOOPT) }
