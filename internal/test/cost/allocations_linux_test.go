//go:build !keepalive_portable && !race

package cost

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allocs counts the allocations of do. The race detector makes sync.Pool drop
// things at random, so that nothing here holds under it.
func allocs(t *testing.T, do func()) float64 {
	t.Helper()
	return testing.AllocsPerRun(runs, do)
}

const runs = 200

// net allocates the RawConn. It lets the function escape that it calls with the
// descriptor: with what that function calls and captures it makes the others.
func TestAllocationsOnAnOpenConnection(t *testing.T) {
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}
	assert.Equal(t, 4., allocs(t, func() { require.NoError(t, c.Apply(conn)) }))

	tcptest.NeedMaxRTO(t) // else the error of getsockopt is one more
	assert.Equal(t, 5., allocs(t, func() { require.NoError(t, tcptest.Err(keepalive.Get(conn))) }))
}

// The one allocation is net's, of the syscall.RawConn.
func TestStatAllocations(t *testing.T) {
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	for name, c := range map[string]net.Conn{
		"TCPConn":  conn,
		"wrapper":  tcptest.Wrap(conn),
		"tls.Conn": tls.Client(conn, new(tls.Config)),
	} {
		assert.Equal(t, 1.0, testing.AllocsPerRun(1000, func() { keepalive.Stat(c) }), name)
	}
}

func TestAllocationsOfAccept(t *testing.T) {
	accept := func(ln net.Listener) float64 {
		for range runs + 1 { // AllocsPerRun calls once more, to warm up
			client, err := net.Dial("tcp4", ln.Addr().String())
			require.NoError(t, err)
			defer client.Close()
		}
		return allocs(t, func() {
			server, err := ln.Accept()
			if err != nil { // require allocates
				t.Fatal(err)
			}
			server.Close()
		})
	}
	plain := accept(tcptest.PlainListen(t, "tcp4"))
	assert.Equal(t, plain, accept(tcptest.Listen(t, &keepalive.ListenConfig{Config: tcptest.Quick}, "tcp4")))
	wrapped, err := keepalive.NewListener(tcptest.PlainListen(t, "tcp4"), tcptest.Quick)
	require.NoError(t, err)
	assert.Equal(t, plain+4, accept(wrapped))
}

// One allocation is the hook that net.Dialer calls, and three are for the
// function that it hands to RawConn.Control. The others are what net makes for
// any hook: a RawConn and the address as a string, and for network "tcp" the
// string "tcp4".
func TestAllocationsOfDial(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	for network, more := range map[string]float64{"tcp4": 8, "tcp": 9} {
		dial := func(d tcptest.Dialer) float64 {
			return allocs(t, func() {
				client, err := d.DialContext(context.Background(), network, ln.Addr().String())
				require.NoError(t, err)
				server, err := ln.Accept()
				require.NoError(t, err)
				client.Close()
				server.Close()
			})
		}
		hooked := dial(&net.Dialer{KeepAlive: -1, ControlContext: nothing})
		ours := dial(&keepalive.Dialer{Config: tcptest.Quick})
		assert.Equal(t, hooked+4, ours)
		assert.LessOrEqual(t, ours, dial(new(net.Dialer))+more)
	}
}

// nothing is a hook that sets nothing.
func nothing(context.Context, string, string, syscall.RawConn) error { return nil }
