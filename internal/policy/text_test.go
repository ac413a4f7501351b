package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The keys that a text names are told from those that it leaves out.
func TestParseNames(t *testing.T) {
	for s, want := range map[string]map[string]bool{
		"default":        {"default": true},
		"off":            {"off": true},
		"idle=1m":        {"idle": true},
		"count=0,idle=0": {"count": true, "idle": true},
	} {
		_, named, err := Parse(s)
		assert.NoError(t, err, s)
		assert.Equal(t, want, named, s)
	}
}

// A timer that is set to the one is late by the other at most.
func TestTimerSlack(t *testing.T) {
	assert.Equal(t, 9*time.Second, WithTimerSlack(8*time.Second))
	for _, tt := range []struct{ within, set time.Duration }{
		{0, 0}, {1, 0}, {8, 7}, {9, 8}, {10, 8}, {17, 15}, {18, 16}, {1<<63 - 1, 8198552921648689606},
	} {
		assert.Equal(t, tt.set, WithoutTimerSlack(tt.within))
		assert.LessOrEqual(t, WithTimerSlack(tt.set), tt.within)
	}
}
