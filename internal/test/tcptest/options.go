package tcptest

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbers are those of the socket options on a system, 0 where it lacks one.
type numbers struct {
	solSocket, soKeepalive       int
	keepIdle, keepIntvl, keepCnt int
	userTimeout, rtoMaxMs        int
}

// systems repeats what the headers of the systems say, by GOOS. It is not derived
// from package syscall or golang.org/x/sys, so that a mistake of the code or of
// those shows. OpenBSD and Plan 9 have no timing per socket. js and wasip1 have no
// keepalive.
var systems = map[string]numbers{
	"linux":      {1, 9, 4, 5, 6, 18, 44},               // asm-generic/socket.h, linux/tcp.h
	"linux/mips": {0xffff, 8, 4, 5, 6, 18, 44},          // arch/mips/include/uapi/asm/socket.h
	"darwin":     {0xffff, 8, 0x10, 0x101, 0x102, 0, 0}, // netinet/tcp.h, with TCP_KEEPALIVE for TCP_KEEPIDLE
	"dragonfly":  {0xffff, 8, 0x100, 0x200, 0x400, 0, 0},
	"freebsd":    {0xffff, 8, 0x100, 0x200, 0x400, 0, 0},
	"netbsd":     {0xffff, 8, 3, 5, 6, 0, 0},
	"windows":    {0xffff, 8, 3, 17, 16, 0, 0}, // winsock2.h, ws2ipdef.h
}

func systemNumbers() (n numbers, known bool) {
	system := runtime.GOOS
	if system == "linux" && strings.HasPrefix(runtime.GOARCH, "mips") {
		system = "linux/mips"
	}
	n, known = systems[system]
	return n, known
}

// An option is a socket option and the field of keepalive.Config that it stands
// for.
type option struct {
	level, number int // number is 0 where the system lacks it
	optional      bool
	set           func(c *keepalive.Config, value int)
}

// options repeats what package keepalive says, so that a mistake there shows.
func (n numbers) options() []option {
	const ipprotoTCP = 6
	return []option{
		{n.solSocket, n.soKeepalive, false, func(c *keepalive.Config, v int) { c.Disable = v == 0 }},
		{ipprotoTCP, n.keepIdle, false, func(c *keepalive.Config, v int) { c.Idle = time.Duration(v) * time.Second }},
		{ipprotoTCP, n.keepIntvl, false, func(c *keepalive.Config, v int) { c.Interval = time.Duration(v) * time.Second }},
		{ipprotoTCP, n.keepCnt, false, func(c *keepalive.Config, v int) { c.Count = v }},
		{ipprotoTCP, n.userTimeout, true, func(c *keepalive.Config, v int) { c.UserTimeout = time.Duration(v) * time.Millisecond }},
		{ipprotoTCP, n.rtoMaxMs, true, func(c *keepalive.Config, v int) { c.MaxRTO = time.Duration(v) * time.Millisecond }},
	}
}

// Options returns what the kernel holds for a connection or listener. An option
// that the socket may lack, and does, is zero. So is all timing on
// [netlab.OldWindows], which can't read it.
func Options(t testing.TB, socket any) (c keepalive.Config) {
	t.Helper()
	n, known := systemNumbers()
	require.True(t, known, "the numbers of the options on %s", runtime.GOOS)
	for _, o := range n.options() {
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

// MPTCP answers EOPNOTSUPP.
func lacksOption(err error) bool {
	return errors.Is(err, ENOPROTOOPT) || errors.Is(err, errors.ErrUnsupported)
}

// AssertOptions asserts that the kernel holds want for a connection or listener.
// A zero MaxRTO is any. On [netlab.OldWindows] only Disable can be asserted, and
// nothing on a system without timing per socket.
func AssertOptions(t testing.TB, want keepalive.Config, socket any, msgAndArgs ...any) {
	t.Helper()
	if _, known := systemNumbers(); !known {
		return
	}
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
