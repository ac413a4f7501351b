//go:build !keepalive_portable

package readback

import (
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Where /proc does not tell, a new socket does.
func TestDefaultsThatProcHides(t *testing.T) {
	netlab.NewNamespace(t)
	for name, files := range map[string]map[string]string{
		"nothing there": nil,
		"zeros, as under gVisor": {
			"tcp_keepalive_time": "60\n", "tcp_keepalive_intvl": "0\n", "tcp_keepalive_probes": "0\n",
		},
		"rubbish": {"tcp_keepalive_time": "soon\n", "tcp_keepalive_intvl": "100000\n", "tcp_keepalive_probes": ""},
	} {
		t.Run(name, func(t *testing.T) {
			netlab.NewNamespace(t)
			netlab.Sysctl(t, "tcp_keepalive_time", "60")
			netlab.Sysctl(t, "tcp_keepalive_intvl", "5")
			netlab.Sysctl(t, "tcp_keepalive_probes", "3")
			netlab.MountOver(t, "/proc/sys/net/ipv4", files) // as containers do
			want := keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
			assert.Equal(t, want, keepalive.SystemDefaults())
			d, ok := keepalive.Config{}.DetectionTime()
			assert.True(t, ok)
			assert.Equal(t, 75*time.Second, d)

			conn, _ := tcptest.Pair(t, &keepalive.Dialer{Config: tcptest.Quick}, tcptest.PlainListen(t, "tcp4"))
			require.NoError(t, keepalive.Config{}.Apply(conn))
			tcptest.AssertOptions(t, want, conn)
			_, ok = keepalive.Config{}.UnackedTime()
			assert.False(t, ok, "no socket tells tcp_retries2")
		})
	}
}
