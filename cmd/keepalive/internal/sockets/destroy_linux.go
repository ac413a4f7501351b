package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrGone is the error of a socket that has ended.
var ErrGone = errors.New("the socket has ended")

// Destroy ends a connection at once, as ss -K does: the peer gets a reset, and the
// program that holds the socket gets ECONNABORTED. The kernel finds it by its
// cookie, so that it never is another one with the same addresses. It takes
// CAP_NET_ADMIN in the network namespace of the socket, and a kernel with
// CONFIG_INET_DIAG_DESTROY. Multipath TCP is refused.
func (s *Socket) Destroy() error {
	switch {
	case s.MPTCP:
		return errors.New("the socket uses Multipath TCP, whose subflows the kernel would open again")
	case s.Cookie == 0 || !s.Remote.IsValid():
		return errors.New("it is no connection")
	}
	return s.namespace.do(func() error { return destroy(s.diagID()) })
}

// destroy ends a connection of the network namespace of the calling thread.
func destroy(id *diagID) error {
	const sockDestroy = 21 // SOCK_DESTROY
	id.header = unix.NlMsghdr{Len: uint32(unsafe.Sizeof(*id)), Type: sockDestroy, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK}
	err := send(unsafe.Slice((*byte)(unsafe.Pointer(id)), unsafe.Sizeof(*id)), func(answer []byte) (more bool, err error) {
		if len(answer) < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
			return false, errors.New("NETLINK_SOCK_DIAG: an answer that is none to SOCK_DESTROY")
		}
		if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:]))); errno != 0 {
			return false, errno
		}
		return false, nil
	})
	return explainDestroy(err)
}

// explainDestroy says what an error of SOCK_DESTROY means.
func explainDestroy(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE):
		return ErrGone
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel cannot end connections of other programs, which takes CONFIG_INET_DIAG_DESTROY (%w)", os.NewSyscallError("SOCK_DESTROY", err))
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("it takes CAP_NET_ADMIN in the network namespace of the socket, which root has (%w)", os.NewSyscallError("SOCK_DESTROY", err))
	}
	return os.NewSyscallError("SOCK_DESTROY", err)
}
