//go:build !keepalive_portable

package readback

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A server that reloads opens a second listener on its port and closes the first.
// With tcp_migrate_req the connections that wait to be accepted move to the
// second. They have inherited the policy of the first. NewListener sets the one
// of the second.
func TestMigratedConnections(t *testing.T) {
	t.Parallel()
	netlab.SkipOn(t, netlab.GVisor, "it has no tcp_migrate_req")
	netlab.SkipBefore(t, 5, 14, "tcp_migrate_req")
	netlab.NeedNamespace(t)
	before := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	after := keepalive.Config{Idle: 30 * time.Second, Interval: 4 * time.Second, Count: 5}
	for name, tt := range map[string]struct {
		reload func(*testing.T, string) net.Listener
		want   keepalive.Config
	}{
		"ListenConfig": {
			reload: func(t *testing.T, address string) net.Listener { return listenShared(t, address, after) },
			want:   before,
		},
		"NewListener": {
			reload: func(t *testing.T, address string) net.Listener {
				ln, err := keepalive.NewListener(listenShared(t, address, keepalive.Config{}), after)
				require.NoError(t, err)
				return ln
			},
			want: after,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			netlab.Sysctl(t, "tcp_migrate_req", "1")
			first := listenShared(t, "127.0.0.1:0", before)
			client, err := net.Dial("tcp4", first.Addr().String())
			require.NoError(t, err)
			defer client.Close()

			second := tt.reload(t, first.Addr().String())
			require.NoError(t, first.Close())
			accepted := tcptest.Accept(t, second)
			tcptest.AssertGet(t, tt.want, accepted)
		})
	}
}

// listenShared opens a listener with SO_REUSEPORT.
func listenShared(t *testing.T, address string, c keepalive.Config) net.Listener {
	t.Helper()
	lc := &keepalive.ListenConfig{
		NetListenConfig: &net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) (err error) {
			control := rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
			if control != nil {
				return control
			}
			return err
		}},
		Config: c,
	}
	ln, err := lc.Listen(t.Context(), "tcp4", address)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}
