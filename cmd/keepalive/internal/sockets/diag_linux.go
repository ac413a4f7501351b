package sockets

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The formats of include/uapi/linux/inet_diag.h and netlink.h.
const (
	diagGetSock  = 18 // TCPDIAG_GETSOCK: a dump of both IPv4 and IPv6, which SOCK_DIAG_BY_FAMILY has not
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY

	diagRequestSize = 60 // struct inet_diag_req
	diagMsgSize     = 72 // struct inet_diag_msg
)

// A diagSocket is a struct inet_diag_msg, and attributes: what sock_diag(7) has about
// a socket.
type diagSocket []byte

func (c diagSocket) state() State { return State(c[1]) }

func (c diagSocket) cookie() uint64 { return binary.NativeEndian.Uint64(c[44:]) }

// inode is 0 where the socket has no file: it is not accepted yet, or closed by
// its program.
func (c diagSocket) inode() uint32 { return binary.NativeEndian.Uint32(c[68:]) }

func (c diagSocket) local() netip.AddrPort  { return c.address(8, 4) }
func (c diagSocket) remote() netip.AddrPort { return c.address(24, 6) }

// group returns the id of the control group, 0 before Linux 5.8.
func (c diagSocket) group() uint64 {
	const inetDiagCgroupID = 21 // INET_DIAG_CGROUP_ID
	for rest := c[diagMsgSize:]; len(rest) >= unix.SizeofNlAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		if size < unix.SizeofNlAttr || size > len(rest) {
			break
		}
		if binary.NativeEndian.Uint16(rest[2:]) == inetDiagCgroupID && size >= unix.SizeofNlAttr+8 {
			return binary.NativeEndian.Uint64(rest[unix.SizeofNlAttr:])
		}
		rest = rest[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(rest)):]
	}
	return 0
}

func (c diagSocket) address(address, port int) netip.AddrPort {
	ip := netip.AddrFrom4([4]byte(c[address:]))
	if c[0] == unix.AF_INET6 {
		ip = netip.AddrFrom16([16]byte(c[address:])).Unmap()
	}
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(c[port:]))
}

// dump visits the TCP sockets of the network namespace of the calling thread that
// are in one of the states, a bit for each.
func dump(states uint32, visit func(diagSocket)) error {
	request := make([]byte, unix.NLMSG_HDRLEN+diagRequestSize)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], diagGetSock)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(request[unix.NLMSG_HDRLEN+52:], states)
	return send(request, func(messages []byte) (more bool, err error) { return visitMessages(messages, visit) })
}

// send sends a message to sock_diag and hands over the answers, until receive
// returns false.
func send(message []byte, receive func(messages []byte) (more bool, err error)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket NETLINK_SOCK_DIAG", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto NETLINK_SOCK_DIAG", err)
	}
	for buffer := make([]byte, 32<<10); ; { // what the kernel sends at once at most
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buffer[0])), uintptr(len(buffer)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return os.NewSyscallError("recvfrom NETLINK_SOCK_DIAG", errno)
		}
		if more, err := receive(buffer[:n]); !more {
			return err
		}
	}
}

// visitMessages visits the sockets of some netlink messages. It returns false
// after the last one.
func visitMessages(messages []byte, visit func(diagSocket)) (more bool, err error) {
	for len(messages) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(messages))
		if size < unix.NLMSG_HDRLEN || size > len(messages) {
			break
		}
		payload := messages[unix.NLMSG_HDRLEN:size]
		switch kind := binary.NativeEndian.Uint16(messages[4:]); {
		case kind == unix.NLMSG_DONE:
			return false, nil
		case kind == unix.NLMSG_ERROR && len(payload) >= 4:
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(payload)))
			return false, os.NewSyscallError("NETLINK_SOCK_DIAG", errno)
		case (kind == diagGetSock || kind == diagByFamily) && len(payload) >= diagMsgSize:
			visit(payload)
		}
		messages = messages[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(messages)):]
	}
	return true, nil
}
