//go:build !keepalive_portable

package pathidle

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A look at the moment at which a reset or the end arrives takes it for no answer.
func TestLookAtTheEnd(t *testing.T) {
	t.Parallel()
	netlab.SkipOn(t, netlab.GVisor, "its TCP_INFO counts no segments")
	ln := tcptest.PlainListen(t, "tcp4")
	for linger, want := range map[int]event{0: reset, -1: closed} {
		for range 1000 {
			conn, peer := tcptest.Pair(t, new(net.Dialer), ln)
			s, err := newSocket(conn)
			require.NoError(t, err)
			require.NoError(t, peer.(*net.TCPConn).SetLinger(linger))
			go peer.Close()
			event := nothing
			for event == nothing && time.Since(s.opened) < time.Minute {
				event, _, err = s.look()
				require.NoError(t, err)
			}
			s.abort()
			if !assert.Equal(t, want, event) {
				break
			}
		}
	}
}
