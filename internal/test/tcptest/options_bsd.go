//go:build darwin || dragonfly || freebsd || netbsd

package tcptest

import (
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	solSocket      = unix.SOL_SOCKET
	soKeepalive    = unix.SO_KEEPALIVE
	ipprotoTCP     = unix.IPPROTO_TCP
	tcpKeepintvl   = unix.TCP_KEEPINTVL
	tcpKeepcnt     = unix.TCP_KEEPCNT
	tcpUserTimeout = 0
	tcpRTOMaxMs    = 0
)

// macOS has a name of its own for TCP_KEEPIDLE, TCP_KEEPALIVE.
var tcpKeepidle = map[string]int{"darwin": 0x10, "dragonfly": 0x100, "freebsd": 0x100, "netbsd": 3}[runtime.GOOS]
