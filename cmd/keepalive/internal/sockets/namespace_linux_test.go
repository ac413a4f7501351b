package sockets

import (
	"os"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func newSocket(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	here := newNamespaces()
	defer here.close()
	outside := newSocket(t)
	netlab.NewNamespace(t)
	inside := newSocket(t)

	assert.Same(t, here.own, here.of(outside))
	there := here.of(inside)
	assert.NotSame(t, here.own, there)
	assert.Same(t, there, here.of(newSocket(t)), "opened once")
	assert.NoError(t, there.err)
	link, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	var entered string
	require.NoError(t, there.do(func() error {
		entered, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	assert.Equal(t, link, entered)
	assert.ErrorIs(t, there.do(func() error { return os.ErrExist }), os.ErrExist)
	assert.ErrorIs(t, here.own.do(func() error { return os.ErrExist }), os.ErrExist)
}
