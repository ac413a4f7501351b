//go:build !keepalive_portable

package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	require.NoError(t, run(&out))
	assert.Equal(t, `the same connection: true
the same connection after the server has crashed: false
`, out.String())
}

// The server falls silent while a connection to it is in use.
func TestPoolDropsSuspects(t *testing.T) {
	t.Parallel()
	ln := tcptest.PlainListen(t, "tcp4")
	p := newPool("tcp4", ln.Addr().String(), keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 9})
	get := func() net.Conn {
		conn, err := p.get()
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	first := get()
	peer := tcptest.Accept(t, ln)
	p.put(first)
	require.Same(t, first, get())

	netlab.MustSilence(t, peer.(*net.TCPConn))
	tcptest.Await(t, "an unanswered probe", func() bool {
		status, err := keepalive.Stat(first)
		require.NoError(t, err)
		return status.Suspect()
	})
	p.put(first)
	next := get()
	assert.NotSame(t, first, next)
	assert.ErrorIs(t, tcptest.Write(first), net.ErrClosed)
	p.put(next)
	assert.Same(t, next, get())
}

// This machine drops its probes, which the kernel does not count.
func TestPoolDropsSilentServers(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	ln := lab.Server.Listen(t, &net.ListenConfig{KeepAlive: -1}, "tcp4", 0)
	p := newPool("tcp4", ln.Addr().String(), tcptest.Quick)
	var first net.Conn
	lab.Client.Do(func() {
		var err error
		first, err = p.get()
		require.NoError(t, err)
	})
	defer first.Close()
	assert.True(t, p.usable(first))
	lab.Client.DropEgress(t)
	tcptest.Await(t, "silence", func() bool { return !p.usable(first) })
	status, err := keepalive.Stat(first)
	require.NoError(t, err)
	assert.True(t, status.Open)
	assert.False(t, status.Suspect())
}
