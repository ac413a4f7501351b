package keepalive_test

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

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
			// The kernel gives the peer up with the first retransmission that
			// goes unanswered, 0.2 s after the write.
			tcptest.SetsockoptInt(t, conn, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1)
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			periods := 0
			err := tt.loop(conn, 50*time.Millisecond, func() { periods++ }, func([]byte) {})
			tcptest.AssertWithin(t, since, 200*time.Millisecond, 2*time.Second)
			assert.Equal(t, tt.lost, keepalive.IsPeerLost(err), "%v", err)
			assert.Equal(t, tt.lost, err != nil, "the usual loop says that all has come")
			assert.GreaterOrEqual(t, periods, 3)
		})
	}
}
