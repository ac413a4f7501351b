//go:build !keepalive_portable

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// Whether the timer can't be armed with a policy that the socket holds.
func TestIsOverdue(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	quick := Config{Idle: s, Interval: s, Count: 3}
	slow := Config{Idle: s, Interval: 15 * s, Count: 3}
	patient := Config{Idle: s, Interval: s, Count: 3, UserTimeout: time.Hour}
	for _, tt := range []struct {
		policy Config
		silent time.Duration
		probes uint8
		want   bool
	}{
		{quick, s, 0, true},
		{quick, 2*s + 250*ms, 1, false},
		{quick, 2*s + 351*ms, 1, true},
		{quick, 4*s + 500*ms, 3, false},
		{slow, 2 * s, 0, false}, // an answered probe
		{slow, 16*s + 975*ms, 0, false},
		{slow, 16*s + 976*ms, 0, true},
		{slow, 18 * s, 1, false},
		{slow, 18*s + 101*ms, 1, true},

		{patient, 2*s + 351*ms, 1, true},
		{patient, 255 * s, 254, false},
		{patient, 255 * s, 1, true},
		{patient, 256 * s, 0, false}, // of 256
		{patient, 264 * s, 1, false},
		{patient, time.Hour, 3, false},
	} {
		info := &unix.TCPInfo{
			Probes:         tt.probes,
			Last_data_recv: uint32((tt.silent + s).Milliseconds()),
			Last_ack_recv:  uint32(tt.silent.Milliseconds()),
		}
		assert.Equal(t, tt.want, isOverdue(info, tt.policy), "%v, silent for %v, %d probes out", tt.policy, tt.silent, tt.probes)
	}
}
