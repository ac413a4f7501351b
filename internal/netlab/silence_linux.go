package netlab

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Silence makes the machine at this end of a connection look as if it had lost
// power: the kernel drops every segment that arrives, so that not even probes
// are acknowledged, and sends no probes of its own. What is written afterwards
// is still sent.
//
// The error matches [os.ErrPermission] where the kernel keeps socket filters
// to the privileged; see [Main] and [Enter].
func Silence(conn syscall.Conn) error {
	return control(conn, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0); err != nil {
			return os.NewSyscallError("setsockopt SO_KEEPALIVE", err)
		}
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
	})
}

// Wake ends what [Silence] began.
func Wake(conn syscall.Conn) error {
	return control(conn, func(fd int) error {
		return os.NewSyscallError("setsockopt SO_DETACH_FILTER", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
	})
}

func control(conn syscall.Conn, f func(fd int) error) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	if ferr != nil {
		return fmt.Errorf("netlab: %w", ferr)
	}
	return nil
}
