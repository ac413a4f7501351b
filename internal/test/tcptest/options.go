//go:build linux || darwin || dragonfly || freebsd || netbsd || windows

package tcptest

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An option is a socket option and the field of keepalive.Config that it stands
// for.
type option struct {
	level, number int // number is 0 where the system lacks it
	optional      bool
	set           func(c *keepalive.Config, value int)
}

// options repeats what packages keepalive and sockopt say, so that a mistake
// there shows.
var options = []option{
	{solSocket, soKeepalive, false, func(c *keepalive.Config, v int) { c.Disable = v == 0 }},
	{ipprotoTCP, tcpKeepidle, false, func(c *keepalive.Config, v int) { c.Idle = time.Duration(v) * time.Second }},
	{ipprotoTCP, tcpKeepintvl, false, func(c *keepalive.Config, v int) { c.Interval = time.Duration(v) * time.Second }},
	{ipprotoTCP, tcpKeepcnt, false, func(c *keepalive.Config, v int) { c.Count = v }},
	{ipprotoTCP, tcpUserTimeout, true, func(c *keepalive.Config, v int) { c.UserTimeout = time.Duration(v) * time.Millisecond }},
	{ipprotoTCP, tcpRTOMaxMs, true, func(c *keepalive.Config, v int) { c.MaxRTO = time.Duration(v) * time.Millisecond }},
}

// Options returns what the kernel holds for a connection or listener. An option
// that the socket may lack, and does, is zero. So is all timing on
// [netlab.OldWindows], which can't read it.
func Options(t testing.TB, socket any) (c keepalive.Config) {
	t.Helper()
	for _, o := range options {
		if o.number == 0 {
			continue
		}
		Control(t, socket, func(fd uintptr) {
			value, err := getsockoptInt(fd, o.level, o.number)
			if (o.optional || netlab.OldWindows.Here()) && lacksOption(err) {
				return
			}
			require.NoError(t, err)
			o.set(&c, value)
		})
	}
	return c
}

// AssertOptions asserts that the kernel holds want for a connection or listener.
// A zero MaxRTO is any. On [netlab.OldWindows] only Disable can be asserted.
func AssertOptions(t testing.TB, want keepalive.Config, socket any, msgAndArgs ...any) {
	t.Helper()
	if netlab.OldWindows.Here() {
		want = keepalive.Config{Disable: want.Disable}
	}
	assertEqual(t, want, Options(t, socket), msgAndArgs...)
}

func assertEqual(t testing.TB, want, got keepalive.Config, msgAndArgs ...any) {
	t.Helper()
	if want.MaxRTO == 0 {
		got.MaxRTO = 0 // zero leaves it as the kernel's release has it
	}
	assert.Equal(t, want, got, msgAndArgs...)
}

// AssertGet asserts that [keepalive.Get] returns want, or that it is unsupported
// on [netlab.OldWindows].
func AssertGet(t testing.TB, want keepalive.Config, conn net.Conn, msgAndArgs ...any) {
	t.Helper()
	got, err := keepalive.Get(conn)
	if netlab.OldWindows.Here() {
		assert.ErrorIs(t, err, errors.ErrUnsupported, msgAndArgs...)
		return
	}
	assert.NoError(t, err, msgAndArgs...)
	assertEqual(t, want, got, msgAndArgs...)
}
