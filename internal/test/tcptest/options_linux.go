package tcptest

import "golang.org/x/sys/unix"

const (
	solSocket      = unix.SOL_SOCKET
	soKeepalive    = unix.SO_KEEPALIVE
	ipprotoTCP     = unix.IPPROTO_TCP
	tcpKeepidle    = unix.TCP_KEEPIDLE
	tcpKeepintvl   = unix.TCP_KEEPINTVL
	tcpKeepcnt     = unix.TCP_KEEPCNT
	tcpUserTimeout = unix.TCP_USER_TIMEOUT
	tcpRTOMaxMs    = unix.TCP_RTO_MAX_MS
)
