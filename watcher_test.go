package keepalive_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Watcher promises what Watch does as it can, and so fails where it can't.
func TestWatcherOnThisSystem(t *testing.T) {
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	for _, w := range []keepalive.Watcher{{}, {Unacked: time.Second}} {
		conn, err := w.Watch(dialed)
		if tcptest.Portable {
			assert.ErrorIs(t, err, errors.ErrUnsupported)
			assert.Nil(t, conn)
			continue
		}
		if errors.Is(err, errors.ErrUnsupported) {
			netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO has no counts")
			t.Skipf("qemu-user: %v", err)
		}
		require.NoError(t, err)
		tcptest.Exchange(t, conn, accepted)
	}
	require.NoError(t, tcptest.Write(dialed), "as it was")
}

func TestWatcherOfNothing(t *testing.T) {
	pipe, _ := net.Pipe()
	for _, conn := range []net.Conn{nil, (*net.TCPConn)(nil), pipe} {
		watched, err := new(keepalive.Watcher).Watch(conn)
		assert.Error(t, err)
		assert.Nil(t, watched)
	}
}
