package keepalive_test

import (
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
)

func TestSinceHeard(t *testing.T) {
	assert.Equal(t, time.Second, keepalive.Status{SinceReceived: time.Second, SinceAck: time.Minute}.SinceHeard())
	assert.Equal(t, time.Second, keepalive.Status{SinceReceived: time.Minute, SinceAck: time.Second}.SinceHeard())
}

func TestSuspect(t *testing.T) {
	for _, tt := range []struct {
		status keepalive.Status
		want   bool
	}{
		{keepalive.Status{}, false},
		{keepalive.Status{Open: true}, false},
		{keepalive.Status{Open: true, Unacked: 10, SinceReceived: time.Hour, SinceAck: time.Hour}, false},
		{keepalive.Status{Open: true, Probes: 1}, true},
		{keepalive.Status{Open: true, Retransmits: 1}, true},
		{keepalive.Status{Probes: 3, Retransmits: 3}, false},
	} {
		assert.Equal(t, tt.want, tt.status.Suspect(), "%+v", tt.status)
	}
}
