package sockopt

import "golang.org/x/sys/windows"

const (
	solSocket    = windows.SOL_SOCKET
	soKeepalive  = windows.SO_KEEPALIVE
	ipprotoTCP   = windows.IPPROTO_TCP
	tcpKeepidle  = windows.TCP_KEEPIDLE
	tcpKeepintvl = windows.TCP_KEEPINTVL
	tcpKeepcnt   = windows.TCP_KEEPCNT
)

func (o *Option) set(fd uintptr, value int) error {
	return windows.SetsockoptInt(windows.Handle(fd), o.Level, o.Number, value)
}

func (o *Option) get(fd uintptr) (int, error) {
	return windows.GetsockoptInt(windows.Handle(fd), o.Level, o.Number)
}
