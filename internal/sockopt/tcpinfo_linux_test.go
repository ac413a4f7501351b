package sockopt

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

// The sizes are those of include/uapi/linux/tcp.h as it has grown.
func TestTCPInfoSize(t *testing.T) {
	for name, size := range map[string]uint32{
		"Linux 2.6": 104,
		"Linux 4.6": 160,
		"here":      uint32(unsafe.Sizeof(unix.TCPInfo{})),
	} {
		assert.NoError(t, checkTCPInfoSize(size), name)
	}
	for _, size := range []uint32{0, 4, 103} {
		assert.ErrorIs(t, checkTCPInfoSize(size), errors.ErrUnsupported, size)
	}
	assert.EqualError(t, checkTCPInfoSize(4), "keepalive: getsockopt TCP_INFO: 4 bytes instead of 104: unsupported operation")
}
