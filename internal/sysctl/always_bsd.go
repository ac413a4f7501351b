//go:build darwin || dragonfly || freebsd || openbsd

package sysctl

import "syscall"

// AlwaysKeepalive reports whether the kernel probes every connection,
// SO_KEEPALIVE or not: net.inet.tcp.always_keepalive of tcp(4), which FreeBSD
// sets by default.
func AlwaysKeepalive() bool {
	on, err := syscall.SysctlUint32("net.inet.tcp.always_keepalive")
	return err == nil && on != 0
}
