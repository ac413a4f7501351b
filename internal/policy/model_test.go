package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A sysctl may hold a bound that no socket takes.
func TestModelTimeout(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, tt := range []struct {
		retries int
		maxRTO  time.Duration
		want    time.Duration
	}{
		{0, s, 200 * ms},
		{2, s, 1400 * ms},
		{3, s, 2400 * ms},
		{15, 120 * s, 924600 * ms}, // tcp(7)
		{15, 500 * s, 924600 * ms},
		{15, 0, 14400 * ms},
		{15, s, 14400 * ms},
	} {
		assert.Equal(t, tt.want, ModelTimeout(tt.retries, tt.maxRTO), "%+v", tt)
	}
}
