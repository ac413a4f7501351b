package cgrouppolicy

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/sys/unix"
)

// SetInherited sets the policy on the TCP sockets of this process that programs
// inherit from it. They belong to no group that it makes: [Attach] does not reach
// them, nor the connections that they accept.
func SetInherited(c keepalive.Config) error {
	options, err := optionsOf(c)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || !isInherited(fd) || !isTCP(fd) {
			continue
		}
		for _, o := range options {
			if err := unix.SetsockoptInt(fd, int(o.level), int(o.number), int(o.value)); err != nil {
				return fmt.Errorf("inherited descriptor %d: setsockopt %s: %w", fd, o.name, err)
			}
		}
	}
	return nil
}

func isInherited(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

func isTCP(fd int) bool {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	protocol, perr := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return errors.Join(err, perr) == nil && typ == unix.SOCK_STREAM && (protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_MPTCP)
}
