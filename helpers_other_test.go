//go:build !linux

package keepalive_test

import (
	"testing"

	"github.com/seed-7be6acb7/keepalive"
)

// assertHolds asks nothing: net has no call that reads options back.
func assertHolds(testing.TB, keepalive.Config, any) {}
