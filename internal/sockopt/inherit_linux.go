package sockopt

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// AcceptInherits reports whether accepted sockets have the options of the
// listening socket, as on Linux. Those of gVisor, which calls itself Linux, do
// not.
//
// Only where the name of the release leaves doubt does it find out, once, by a
// connection over loopback.
var AcceptInherits = sync.OnceValue(func() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil && isLinux(unix.ByteSliceToString(name.Release[:])) {
		return true
	}
	return tryInheriting()
})

// isLinux reports whether a release is certainly that of a Linux kernel. gVisor
// has "gvisor" in its name, and was 4.4.0 before.
func isLinux(release string) bool {
	return !strings.Contains(release, "gvisor") && !strings.HasPrefix(release, "4.4.0")
}

// tryInheriting accepts a connection of its own. It returns false where it
// can't tell.
func tryInheriting() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ln, err := listenKeepAlive(ctx)
	if err != nil {
		return false
	}
	defer ln.Close()
	dialed, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return false
	}
	defer dialed.Close()
	accepted, err := ln.Accept()
	if err != nil {
		return false
	}
	defer accepted.Close()
	on := 0
	err = Control(accepted.(*net.TCPConn), func(fd uintptr) (err error) {
		on, err = KeepAlive.Get(fd)
		return err
	})
	return err == nil && on != 0
}

// listenKeepAlive listens on a loopback address with SO_KEEPALIVE set, and
// keeps net from setting it on what is accepted.
func listenKeepAlive(ctx context.Context) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, rc syscall.RawConn) error {
		return RawControl(rc, func(fd uintptr) error { return KeepAlive.Set(fd, 1) })
	}}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		ln, err = lc.Listen(ctx, "tcp6", "[::1]:0")
	}
	if err == nil {
		deadline, _ := ctx.Deadline()
		ln.(*net.TCPListener).SetDeadline(deadline)
	}
	return ln, err
}
