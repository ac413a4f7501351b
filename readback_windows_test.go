package keepalive_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/windows"
)

// ws2ipdef.h.
const (
	tcpKeepidle  = 3
	tcpKeepcnt   = 16
	tcpKeepintvl = 17
)

func getsockopts(fd uintptr) (options, error) {
	s := windows.Handle(fd)
	on, err1 := windows.GetsockoptInt(s, windows.SOL_SOCKET, windows.SO_KEEPALIVE)
	idle, err2 := windows.GetsockoptInt(s, windows.IPPROTO_TCP, tcpKeepidle)
	interval, err3 := windows.GetsockoptInt(s, windows.IPPROTO_TCP, tcpKeepintvl)
	count, err4 := windows.GetsockoptInt(s, windows.IPPROTO_TCP, tcpKeepcnt)
	return options{on != 0, idle, interval, count}, errors.Join(err1, err2, err3, err4)
}

// Before Windows 10.0.16299 net sets timing by an ioctl that turns keepalive on.
func TestTimingDoesNotTurnKeepaliveOn(t *testing.T) {
	conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
	require.NoError(t, keepalive.Config{Disable: true, Idle: time.Minute, Interval: time.Second}.Apply(conn))
	rc, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		on, err := windows.GetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_KEEPALIVE)
		assert.NoError(t, err)
		assert.Zero(t, on)
	}))
}
