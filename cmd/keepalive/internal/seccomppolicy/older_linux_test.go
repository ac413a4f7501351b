package seccomppolicy

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A thread that does not wait any more may have left its number to another one,
// whose sockets are not touched.
func TestConnectingGivenUp(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	const none = -1 // no listener, and so no thread that waits
	s := &Server{policy: &Policy{config: policy.Config{Count: 4}, older: true}, listener: none, notes: newNotes(io.Discard)}
	n := notification{tid: uint32(unix.Getpid())}
	n.args[0] = uint64(fd)
	s.answerConnecting(&n)
	s.Close()
	assert.Empty(t, s.notes.counts)
	count, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	require.NoError(t, err)
	assert.NotEqual(t, 4, count)
}
