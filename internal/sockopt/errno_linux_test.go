package sockopt

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The names of the calls are those that net gives.
func TestSoftErrors(t *testing.T) {
	for _, err := range append([]error{syscall.EHOSTUNREACH, syscall.ENETUNREACH}, softErrors...) {
		for _, call := range []string{"read", "recvfrom", "recvmsg", "write", "writev", "sendto", "sendmsg", "sendfile", "splice"} {
			assert.True(t, IsPeerLost(call, err), "%s: %v", call, err)
		}
	}
	for _, err := range softErrors {
		for _, call := range []string{"", "connect", "setsockopt", "getsockopt", "shutdown", "accept4"} {
			assert.False(t, IsPeerLost(call, err), "%s: %v", call, err)
		}
	}
	assert.True(t, IsPeerLost("read", syscall.EINVAL))
	for _, call := range []string{"", "setsockopt", "sendfile", "splice"} {
		assert.False(t, IsPeerLost(call, syscall.EINVAL), call)
	}
	for call, want := range map[string]bool{"read": true, "splice": true, "write": false, "shutdown": false} {
		assert.Equal(t, want, IsPeerLost(call, syscall.ENOTCONN), call) // of MPTCP
	}
	for _, errno := range []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE, syscall.EBADF, syscall.EINTR} {
		assert.False(t, IsPeerLost("read", errno), "%v", errno)
	}
}
