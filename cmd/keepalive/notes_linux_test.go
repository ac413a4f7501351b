package main

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
	"github.com/stretchr/testify/assert"
)

func TestUnseenLines(t *testing.T) {
	t.Parallel()
	at := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), port) }
	connection := func(namespace uint64, port uint16, kernel bool) sockets.Connection {
		return sockets.Connection{NetNS: namespace, Local: at(port), Remote: at(80), Kernel: kernel}
	}
	forbidden := errors.New("forbidden")
	u := sockets.Unseen{
		Hidden:    errors.New("some are hidden"),
		Uncounted: []sockets.Uncounted{{NetNS: 3, Err: forbidden}, {NetNS: 4, Err: errors.New("broken")}, {NetNS: 5, Err: forbidden}},
		Connections: []sockets.Connection{
			connection(1, 9, false), connection(2, 1, false), connection(2, 2, false), connection(2, 3, false), connection(2, 4, false),
			connection(2, 2049, true), connection(3, 2049, true),
		},
	}
	const where = ": in flight over a Unix socket, registered with io_uring, or held by a process that cannot be looked into or is in another PID namespace"
	assert.Equal(t, []string{
		"some are hidden",
		"the TCP connections of network namespaces 3, 5 could not be counted: forbidden",
		"the TCP connections of network namespace 4 could not be counted: broken",
		"1 TCP connection of network namespace 1 found in no process ([::1]:9 to [::1]:80)" + where,
		"4 TCP connections of network namespace 2 found in no process ([::1]:1 to [::1]:80, [::1]:2 to [::1]:80, [::1]:3 to [::1]:80, …)" + where,
	}, unseenLines(u))
	assert.Equal(t, "2 TCP connections belong to the kernel, such as to NFS", kernelLine(u))
	assert.Empty(t, unseenLines(sockets.Unseen{}))
	assert.Empty(t, kernelLine(sockets.Unseen{}))
}
