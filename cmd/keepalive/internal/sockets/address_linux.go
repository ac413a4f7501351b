package sockets

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// address returns what getsockname(2) or getpeername(2) tells, the zero AddrPort
// where the socket has no address or is none of IP. [unix.Getsockname] asks for
// the protocol each time, and allocates.
func address(fd int, call uintptr) (netip.AddrPort, error) {
	var sa unix.RawSockaddrInet6 // that of IPv4 is shorter
	size := uint32(unsafe.Sizeof(sa))
	_, _, errno := unix.Syscall(call, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if errno == unix.ENOTCONN {
		return netip.AddrPort{}, nil
	}
	if errno != 0 {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", errno)
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port), nil
	case unix.AF_INET6:
		addr := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 {
			addr = addr.WithZone(zone(fd, sa.Scope_id))
		}
		return netip.AddrPortFrom(addr, port), nil
	}
	return netip.AddrPort{}, nil
}

// zone returns the name of a network interface in the namespace of a socket, or
// its index where it has gone.
func zone(fd int, index uint32) string {
	var request struct { // struct ifreq
		name  [unix.IFNAMSIZ]byte
		index uint32
		_     [20]byte
	}
	request.index = index
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return strconv.FormatUint(uint64(index), 10)
	}
	return unix.ByteSliceToString(request.name[:])
}

// inZone returns a remote address with the zone of the local one, if it needs
// one.
func inZone(remote, local netip.AddrPort) netip.AddrPort {
	if addr := remote.Addr(); addr.IsLinkLocalUnicast() && addr.Is6() {
		return netip.AddrPortFrom(addr.WithZone(local.Addr().Zone()), remote.Port())
	}
	return remote
}
