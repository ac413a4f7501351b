package netlab

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// flushConntrack deletes every connection that conntrack knows in the network
// namespace of the calling thread, as conntrack --flush does.
func flushConntrack() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, deleteAll(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	return awaitAck(fd)
}

// deleteAll is IPCTNL_MSG_CT_DELETE with no attribute that narrows it down: a
// struct nlmsghdr and a struct nfgenmsg, with no address family.
func deleteAll() []byte {
	const ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE
	msg := make([]byte, unix.NLMSG_HDRLEN+4)
	binary.NativeEndian.PutUint32(msg, uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], ctDelete)
	binary.NativeEndian.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	return msg
}

// awaitAck reads the NLMSG_ERROR that answers a request: a struct nlmsghdr and a
// negative errno, or zero.
func awaitAck(fd int) error {
	reply := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(fd, reply, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(reply[4:]) != unix.NLMSG_ERROR {
		return os.NewSyscallError("conntrack delete", unix.EBADMSG)
	}
	if errno := -int32(binary.NativeEndian.Uint32(reply[unix.NLMSG_HDRLEN:])); errno != 0 {
		return os.NewSyscallError("conntrack delete", unix.Errno(errno))
	}
	return nil
}
