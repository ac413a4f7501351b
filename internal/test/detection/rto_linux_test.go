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
	err := tcptest.Read(conn)
	tcptest.AssertWithin(t, since, 7*time.Second-tcptest.Jiffy, 7*time.Second*9/8+500*time.Millisecond)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
}

// On a path with a long round trip even the first distance is longer than that,
// and the next one twice as long.
func TestRetransmissionsOverALongPath(t *testing.T) {
	t.Parallel()
	const roundTrip = 2 * time.Second
	sent := make(chan time.Time, 8)
	w := netlab.NewWire(t, netlab.NewLab(t, netlab.Rules{}), func(p netlab.Packet) (time.Duration, bool) {
		if p.FromClient && p.Payload > 0 {
			sent <- time.Now()
			return 0, false
		}
		return roundTrip / 2, true
	})
	ln := w.Listen(t, &net.ListenConfig{KeepAlive: -1})
	conn := w.Dial(t, (&net.Dialer{KeepAlive: -1}).DialContext, ln)
	require.NoError(t, tcptest.Write(conn))
	data, first, second := <-sent, <-sent, <-sent
	t.Log(first.Sub(data), second.Sub(first))
	assert.Greater(t, first.Sub(data), roundTrip)
	assert.Greater(t, second.Sub(first), 2*roundTrip)
}
