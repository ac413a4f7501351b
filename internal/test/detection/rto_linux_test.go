//go:build !keepalive_portable

package detection

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The distances between retransmissions begin at the retransmission timeout of
// the path. Those of the kernel's model, and so of UnackedTime, begin at 0.2 s.
// Here the timeout is 1 s, as on a path with a long round trip: retransmissions
// come 1 s, 3 s and 7 s after the data, and the kernel looks only then.
func TestUnackedTimeOfALongRTO(t *testing.T) {
	t.Parallel()
	netlab.SkipOn(t, netlab.GVisor, "it has no tcp_rto_min_us")
	netlab.SkipBefore(t, 6, 11, "tcp_rto_min_us")
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_retries2", "3")
	netlab.Sysctl(t, "tcp_rto_min_us", "1000000")
	d, ok := keepalive.Config{}.UnackedTime()
	require.True(t, ok)
	require.Equal(t, 3*time.Second, d)

	conn, peer := tcptest.Pair(t, &keepalive.Dialer{}, tcptest.PlainListen(t, "tcp4"))
	tcptest.AwaitAcked(t, conn, peer)
	netlab.MustSilence(t, peer.(*net.TCPConn))
	since := time.Now()
	require.NoError(t, tcptest.Write(conn))
	assert.ErrorIs(t, tcptest.Read(conn), syscall.ETIMEDOUT)
	took := time.Since(since)
	t.Logf("%v, noticed after %v", d, took)
	assert.GreaterOrEqual(t, took, 7*time.Second-tcptest.Jiffy)
	assert.LessOrEqual(t, took, 7*time.Second*9/8+500*time.Millisecond)
}
