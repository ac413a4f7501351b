package sockopt

import "golang.org/x/sys/unix"

const (
	solSocket    = unix.SOL_SOCKET
	soKeepalive  = unix.SO_KEEPALIVE
	ipprotoTCP   = unix.IPPROTO_TCP
	tcpKeepidle  = unix.TCP_KEEPALIVE // tcp(4) of macOS
	tcpKeepintvl = unix.TCP_KEEPINTVL
	tcpKeepcnt   = unix.TCP_KEEPCNT
)
