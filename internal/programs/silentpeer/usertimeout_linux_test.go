package main

import (
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// UserTimeout takes the place of Count on Linux, and not under gVisor.
func TestUserTimeoutInPlaceOfCount(t *testing.T) {
	t.Parallel()
	policy := tcptest.Quick
	detection, _ := policy.DetectionTime()
	policy.UserTimeout = 8 * time.Second
	tcptest.SkipUnsupported(t, policy)
	if !netlab.GVisor.Here() {
		detection, _ = policy.DetectionTime()
	}
	conn := dial(t, silentPeer(t), (&keepalive.Dialer{Config: policy}).DialContext)
	assertLost(t, conn, detection)
}
