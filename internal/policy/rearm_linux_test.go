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
	long := Config{Idle: s, Interval: s, Count: 3, UserTimeout: time.Hour}
	for _, tt := range []struct {
		policy Config
		silent time.Duration
		want   bool
	}{
		{quick, s, true},
		{slow, 2 * s, false}, // an answered probe
		{slow, 16*s + 975*ms, false},
		{slow, 16*s + 976*ms, true},

		{long, 2 * s, true},
		{long, 256 * s, false}, // of 256
		{long, time.Hour, false},
	} {
		info := &unix.TCPInfo{
			Last_data_recv: uint32((tt.silent + s).Milliseconds()),
			Last_ack_recv:  uint32(tt.silent.Milliseconds()),
		}
		assert.Equal(t, tt.want, isOverdue(info, tt.policy), "%v, silent for %v", tt.policy, tt.silent)
	}
}
