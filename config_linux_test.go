package keepalive_test

import (
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
)

func TestEffective(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_keepalive_time", "111")
	netlab.Sysctl(t, "tcp_keepalive_probes", "0")
	want := keepalive.Config{Idle: 111 * time.Second, Interval: 75 * time.Second}
	if tcptest.Portable {
		want = keepalive.Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9} // tcp(7)
	}
	assert.Equal(t, want, keepalive.Config{}.Effective())
	// Each field is taken from the system by itself.
	netlab.Sysctl(t, "tcp_keepalive_probes", "4")
	if !tcptest.Portable {
		want.Count = 4
	}
	set := keepalive.Config{Idle: time.Minute, Interval: time.Second, Count: 3}
	for i := range 8 {
		c, want := set, want
		if i&1 == 0 {
			c.Idle = 0
		} else {
			want.Idle = c.Idle
		}
		if i&2 == 0 {
			c.Interval = 0
		} else {
			want.Interval = c.Interval
		}
		if i&4 == 0 {
			c.Count = 0
		} else {
			want.Count = c.Count
		}
		assert.Equal(t, want, c.Effective(), "%v", c)
	}
	full := keepalive.Config{Disable: true, Idle: time.Minute, Interval: time.Nanosecond, Count: 3, UserTimeout: time.Second}
	assert.Equal(t, full, full.Effective())
}
