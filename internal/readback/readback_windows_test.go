package readback

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Before Windows 10.0.16299 net sets timing by an ioctl that turns keepalive on.
func TestTimingDoesNotTurnKeepaliveOn(t *testing.T) {
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	require.NoError(t, keepalive.Config{Disable: true, Idle: time.Minute, Interval: time.Second}.Apply(conn))
	assert.True(t, tcptest.Options(t, conn).Disable)
}
