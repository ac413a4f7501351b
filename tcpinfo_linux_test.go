//go:build !keepalive_portable

package keepalive

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// The sizes of include/uapi/linux/tcp.h as it has grown.
func TestTCPInfoFilled(t *testing.T) {
	for name, size := range map[string]uint32{
		"as far as tcpi_rtt": 72,
		"Linux 2.6":          104,
		"Linux 4.6":          160,
		"here":               uint32(unsafe.Sizeof(unix.TCPInfo{})),
	} {
		assert.NoError(t, checkFilled(size), name)
	}
	for _, size := range []uint32{0, 4, 71} {
		assert.ErrorIs(t, checkFilled(size), errors.ErrUnsupported, size)
	}
	assert.EqualError(t, checkFilled(4), "keepalive: getsockopt TCP_INFO: 4 bytes instead of 72: unsupported operation")
}
