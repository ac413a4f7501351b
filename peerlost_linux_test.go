package keepalive_test

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Both loops of the example, with the primary dead. Neither may take the other's
// turn, so each has a connection.
func TestReadLoops(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		loop func(net.Conn, time.Duration, func(), func([]byte)) error
		lost bool
	}{
		"right": {follow, true},
		"usual": {followUsual, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, _ := tcptest.DialSilent(t, keepalive.Config{})
			tcptest.SetsockoptInt(t, conn, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000)
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			periods := 0
			err := tt.loop(conn, 50*time.Millisecond, func() { periods++ }, func([]byte) {})
			tcptest.AssertWithin(t, since, time.Second, 2*time.Second)
			assert.Equal(t, tt.lost, keepalive.IsPeerLost(err), "%v", err)
			assert.Equal(t, tt.lost, err != nil, "the usual loop says that all has come")
			assert.GreaterOrEqual(t, periods, 3)
		})
	}
}
