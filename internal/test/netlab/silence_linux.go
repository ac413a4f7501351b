package netlab

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Silence makes the machine at this end of a connection look as if it had lost
// power. The kernel drops every segment that arrives, so that not even probes
// are acknowledged, and the other end drops every segment that is sent. What the
// program has read is acknowledged first.
//
// Silence needs no privileges: it sets a key for TCP's MD5 signatures (RFC 2385)
// that the other end does not have. Where the kernel lacks TCP_MD5SIG it attaches
// a socket filter, which drops only what arrives. The error matches
// [os.ErrPermission] where the kernel keeps filters to the privileged. MPTCP has
// neither.
//
// A silent connection that is closed lingers, since nothing acknowledges its FIN,
// unless [net.TCPConn.SetLinger] was called with 0.
func Silence(conn syscall.Conn) error {
	return control(conn, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0); err != nil {
			return os.NewSyscallError("setsockopt SO_KEEPALIVE", err)
		}
		return either(requireSignature(fd), func() error { return dropAll(fd) })
	})
}

// Wake ends what [Silence] began.
func Wake(conn syscall.Conn) error {
	return control(conn, func(fd int) error {
		return either(setKey(fd, ""), func() error {
			err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			return os.NewSyscallError("setsockopt SO_DETACH_FILTER", err)
		})
	})
}

// either returns nil where one way succeeds, of which the other is tried second.
func either(err error, other func() error) error {
	if err == nil {
		return nil
	}
	if err2 := other(); err2 != nil {
		return fmt.Errorf("%w, and %w", err, err2)
	}
	return nil
}

// requireSignature makes the kernel drop what arrives without a signature, and
// sign what it sends, which the other end does not expect.
func requireSignature(fd int) error {
	// A delayed acknowledgement would be signed as well. What it acknowledges
	// would then stay in flight, and keepalive does not probe while it does.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1); err != nil {
		return os.NewSyscallError("setsockopt TCP_QUICKACK", err)
	}
	return setKey(fd, "nobody else has it")
}

// setKey sets the key for the address of the other end. An empty one deletes it.
func setKey(fd int, key string) error {
	other, err := unix.Getpeername(fd)
	if err != nil {
		return os.NewSyscallError("getpeername", err)
	}
	var sig unix.TCPMD5Sig
	switch other := other.(type) {
	case *unix.SockaddrInet4: // a struct sockaddr_in has a port before the address
		sig.Addr.Family = unix.AF_INET
		copy(sig.Addr.Data[2:], other.Addr[:])
	case *unix.SockaddrInet6: // a struct sockaddr_in6 a flow label, too
		sig.Addr.Family = unix.AF_INET6
		copy(sig.Addr.Data[6:], other.Addr[:])
	}
	sig.Keylen = uint16(copy(sig.Key[:], key))
	err = unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
	return os.NewSyscallError("setsockopt TCP_MD5SIG", err)
}

// dropAll makes the kernel drop what arrives.
func dropAll(fd int) error {
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", err)
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
