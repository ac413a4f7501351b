//go:build ignore && !keepalive_portable && !race

package keepalive_test

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
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
	conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
	c := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}
	assert.Equal(t, 4., allocs(t, func() { require.NoError(t, c.Apply(conn)) }))
	assert.Equal(t, 5., allocs(t, func() { require.NoError(t, second(keepalive.Get(conn))) }))
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
	plain := accept(plainListen(t, "tcp4"))
	assert.Equal(t, plain, accept(listen(t, &keepalive.ListenConfig{Config: quick}, "tcp4")))
	wrapped, err := keepalive.NewListener(plainListen(t, "tcp4"), quick)
	require.NoError(t, err)
	assert.Equal(t, plain+4, accept(wrapped))
}

// One allocation is the hook that net.Dialer calls, and three are for the
// function that it hands to RawConn.Control. The others are what net makes for
// any hook: a RawConn and the address as a string, and for network "tcp" the
// string "tcp4".
func TestAllocationsOfDial(t *testing.T) {
	ln := plainListen(t, "tcp4")
	for network, more := range map[string]float64{"tcp4": 8, "tcp": 9} {
		dial := func(d dialer) float64 {
			return allocs(t, func() {
				client, err := d.Dial(network, ln.Addr().String())
				require.NoError(t, err)
				server, err := ln.Accept()
				require.NoError(t, err)
				client.Close()
				server.Close()
			})
		}
		hooked := dial(&net.Dialer{KeepAlive: -1, ControlContext: nothing})
		ours := dial(&keepalive.Dialer{Config: quick})
		assert.Equal(t, hooked+4, ours)
		assert.LessOrEqual(t, ours, dial(new(net.Dialer))+more)
	}
}
