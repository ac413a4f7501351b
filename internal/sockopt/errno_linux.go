package sockopt

import (
	"errors"
	"syscall"
)

// softErrors are what sk_err_soft holds of what the path said, but for
// EHOSTUNREACH and ENETUNREACH. An open TCP connection returns them only once
// the kernel has given it up: tcp_write_err in net/ipv4/tcp_timer.c. See
// icmp_err_convert in net/ipv4/icmp.c, tcp_v4_err in net/ipv4/tcp_ipv4.c and
// icmpv6_err_convert in net/ipv6/icmp.c.
var softErrors = []error{
	syscall.ECONNREFUSED, // port unreachable
	syscall.EACCES,       // prohibited, over IPv6
	syscall.ENOPROTOOPT,  // protocol unreachable
	syscall.EHOSTDOWN,    // host unknown
	syscall.ENONET,       // host isolated
	syscall.EOPNOTSUPP,   // source route failed
	syscall.EPROTO,       // parameter problem
}

// isSoftError reports whether err is a soft error that a transfer of data has
// returned. Other calls return the same errors for reasons of their own.
func isSoftError(call string, err error) bool {
	switch call {
	case "read", "readv", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg":
		// An IPv6 blackhole route of this machine makes EINVAL.
		return matchesAny(err, softErrors) || errors.Is(err, syscall.EINVAL)
	case "splice", "sendfile":
		return matchesAny(err, softErrors)
	}
	return false
}

// isOutOfSubflows reports whether err is the error of reading an MPTCP
// connection once net.mptcp.close_timeout has passed without a subflow. io.Copy
// reads by splice. Other calls return ENOTCONN for any connection that has
// ended.
func isOutOfSubflows(call string, err error) bool {
	return (call == "read" || call == "splice") && errors.Is(err, syscall.ENOTCONN)
}
