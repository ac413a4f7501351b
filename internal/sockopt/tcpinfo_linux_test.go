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

// gVisor leaves at zero what Linux always knows of a connection.
func TestTCPInfoFilled(t *testing.T) {
	for state, known := range map[uint8]bool{
		0: true, unix.BPF_TCP_CLOSE: true, unix.BPF_TCP_LISTEN: true, unix.BPF_TCP_SYN_SENT: true,
		unix.BPF_TCP_ESTABLISHED: false, unix.BPF_TCP_CLOSE_WAIT: false,
	} {
		assert.NoError(t, checkTCPInfoFilled(&unix.TCPInfo{State: state, Advmss: 1}), state)
		err := checkTCPInfoFilled(&unix.TCPInfo{State: state})
		assert.Equal(t, known, err == nil, state)
		if !known {
			assert.ErrorIs(t, err, errors.ErrUnsupported)
			assert.EqualError(t, err, "keepalive: getsockopt TCP_INFO: the kernel fills in no counts: unsupported operation")
		}
	}
	assert.ErrorIs(t, TCPInfo(^uintptr(0), new(unix.TCPInfo)), unix.EBADF)
	assert.ErrorIs(t, Disconnect(^uintptr(0)), unix.EBADF)
}
