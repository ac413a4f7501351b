//go:build !keepalive_portable

package keepalive_test

import (
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
)

// The kernel lets an operator write values that make no sense.
func TestDetectionTimeWithTheSystemsDefaults(t *testing.T) {
	netlab.NewNamespace(t)
	const s = time.Second
	for _, tt := range []struct {
		idle, interval, probes string
		config                 keepalive.Config
		want                   time.Duration
		never                  bool
	}{
		{idle: "7200", interval: "75", probes: "9", want: 7875 * s},
		{idle: "600", interval: "30", probes: "4", want: 720 * s},
		{idle: "600", interval: "30", probes: "4", config: keepalive.Config{Idle: s, Count: 2}, want: 61 * s},
		{idle: "600", interval: "30", probes: "4", config: keepalive.Config{UserTimeout: 601 * s}, want: 630 * s},
		{idle: "0", interval: "30", probes: "4", want: 120 * s},
		{idle: "600", interval: "0", probes: "4", want: 600 * s},
		{idle: "600", interval: "0", probes: "4", config: keepalive.Config{UserTimeout: 700 * s}, want: 700 * s},
		{idle: "600", interval: "30", probes: "0", want: 600 * s},
		{idle: "600", interval: "-1", probes: "0", want: 600 * s},
		{idle: "600", interval: "30", probes: "0", config: keepalive.Config{UserTimeout: s}, want: 630 * s},
		{idle: "8589934", interval: "8589934", probes: "255", want: 256 * 8589934 * s},
		{idle: "-1", interval: "30", probes: "4", never: true},
		{idle: "600", interval: "-1", probes: "4", never: true},
		{idle: "600", interval: "-1", probes: "4", config: keepalive.Config{UserTimeout: s}, never: true},
	} {
		netlab.Sysctl(t, "tcp_keepalive_time", tt.idle)
		netlab.Sysctl(t, "tcp_keepalive_intvl", tt.interval)
		netlab.Sysctl(t, "tcp_keepalive_probes", tt.probes)
		d, ok := tt.config.DetectionTime()
		assert.Equal(t, tt.want, d, "%+v", tt)
		assert.Equal(t, !tt.never, ok, "%+v", tt)
	}
}
