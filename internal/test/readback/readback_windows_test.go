package readback

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

// Before Windows 10.0.16299 net sets timing by an ioctl that turns keepalive on.
func TestTimingDoesNotTurnKeepaliveOn(t *testing.T) {
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	require.NoError(t, keepalive.Config{Disable: true, Idle: time.Minute, Interval: time.Second}.Apply(conn))
	assert.True(t, tcptest.Options(t, conn).Disable)
}

// The same ioctl sets Idle and Interval together, so net would set an Interval
// of 1 s with an Idle alone.
func TestIdleAlone(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	for _, c := range []keepalive.Config{{Idle: time.Minute}, {Interval: time.Minute}} {
		conn, _ := tcptest.Pair(t, new(net.Dialer), ln)
		before := tcptest.Options(t, conn)
		for path, err := range map[string]error{
			"Apply":        c.Apply(conn),
			"Dialer":       tcptest.Err((&keepalive.Dialer{Config: c}).Dial("tcp4", "127.0.0.1:1")),
			"ListenConfig": tcptest.Err((&keepalive.ListenConfig{Config: c}).Listen(t.Context(), "tcp4", "192.0.2.1:1")),
			"NewListener":  tcptest.Err(keepalive.NewListener(ln, c)),
		} {
			if netlab.OldWindows.Here() {
				assert.EqualError(t, err, "keepalive: TCP_KEEPIDLE without TCP_KEEPINTVL, or the reverse, on windows: unsupported operation", path)
				assert.ErrorIs(t, err, errors.ErrUnsupported, path)
			} else {
				assert.NotErrorIs(t, err, errors.ErrUnsupported, path)
			}
		}
		if netlab.OldWindows.Here() {
			assert.Equal(t, before, tcptest.Options(t, conn))
			continue
		}
		want := tcptest.NetDefault
		if c.Idle != 0 {
			want.Idle = c.Idle
		} else {
			want.Interval = c.Interval
		}
		tcptest.AssertOptions(t, want, conn)
	}
}
