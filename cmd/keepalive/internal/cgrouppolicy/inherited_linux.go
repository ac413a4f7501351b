package cgrouppolicy

import (
	"fmt"
	"os"
	"strconv"

	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/sys/unix"
)

// SetInherited sets the policy on the TCP sockets of this process that programs
// inherit from it. They belong to no group that it makes: [Attach] does not reach
// them, nor the connections that they accept. Without mptcp it is an error if one
// of them uses MPTCP, and nothing is set.
func SetInherited(c keepalive.Config, mptcp bool) error {
	options, err := optionsOf(c)
	if err != nil {
		return err
	}
	inherited, err := inheritedSockets()
	if err != nil {
		return err
	}
	for _, s := range inherited {
		if s.mptcp && !mptcp {
			return fmt.Errorf("inherited descriptor %d is an MPTCP socket, whose subflows may lack the policy: "+
				"want a TCP socket, or --allow-mptcp", s.fd)
		}
	}
	for _, s := range inherited {
		for _, o := range options {
			err := unix.SetsockoptInt(s.fd, int(o.level), int(o.number), int(o.value))
			if s.mptcp && (err == unix.ENOPROTOOPT || err == unix.EOPNOTSUPP) {
				err = fmt.Errorf("%w: MPTCP lacks it, want a policy without it, or a TCP socket", err)
			}
			if err != nil {
				return fmt.Errorf("inherited descriptor %d: setsockopt %s: %w", s.fd, o.name, err)
			}
		}
	}
	return nil
}

// An inheritedSocket is one that a program gets when this process starts it.
type inheritedSocket struct {
	fd    int
	mptcp bool
}

// inheritedSockets returns those that are TCP's.
func inheritedSockets() (inherited []inheritedSocket, err error) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || !isInherited(fd) {
			continue
		}
		typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		protocol, perr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if err != nil || perr != nil || typ != unix.SOCK_STREAM || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
			continue
		}
		inherited = append(inherited, inheritedSocket{fd, protocol == unix.IPPROTO_MPTCP})
	}
	return inherited, nil
}

func isInherited(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}
