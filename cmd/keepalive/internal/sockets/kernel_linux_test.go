package sockets

import (
	"fmt"
	"net"
	"os/exec"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The path manager of Multipath TCP listens in the kernel.
func TestKernelSockets(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String()) // which is not accepted
	require.NoError(t, err)
	defer conn.Close()
	out, err := exec.Command("ip", "mptcp", "endpoint", "add", "127.0.0.1", "port", "7999", "signal").CombinedOutput()
	if err != nil {
		netlab.Skip(t, fmt.Errorf("%w: %s", err, out))
	}
	kernel, err := kernelSockets()
	if err != nil {
		netlab.Skip(t, err)
	}
	found := make(map[uint16]bool)
	require.NoError(t, dump(1<<Listen|carriesData, func(s diagSocket) { found[s.local().Port()] = kernel[s.cookie()] }))
	port := func(a net.Addr) uint16 { return a.(*net.TCPAddr).AddrPort().Port() }
	assert.Equal(t, map[uint16]bool{7999: true, port(ln.Addr()): false, port(conn.LocalAddr()): false}, found)
	assert.Len(t, kernel, 1)
}
