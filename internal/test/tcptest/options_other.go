//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !windows

package tcptest

import (
	"testing"

	"github.com/seed-7be6acb7/keepalive"
)

// AssertOptions asserts nothing: these systems have no options to read, or none
// that golang.org/x/sys names alike.
func AssertOptions(testing.TB, keepalive.Config, any, ...any) {}
