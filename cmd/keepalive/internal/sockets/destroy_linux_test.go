package sockets

import (
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A socket with the same addresses and another cookie is left alone.
func TestDestroyNamesTheSocket(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	ln, fd := newSocket(t), newSocket(t)
	require.NoError(t, unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(ln, 1))
	address, err := unix.Getsockname(ln)
	require.NoError(t, err)
	require.NoError(t, unix.Connect(fd, address))
	namespaces := newNamespaces()
	defer namespaces.close()
	s := Socket{fd: fd, namespace: namespaces.own}
	_, err = s.identify()
	require.NoError(t, err)

	s.Cookie++
	err = s.Destroy()
	if err != nil && err != ErrGone {
		netlab.Skip(t, err)
	}
	assert.Equal(t, ErrGone, err)
	_, err = unix.Write(fd, []byte("x"))
	assert.NoError(t, err)
	s.Cookie--
	assert.NoError(t, s.Destroy())
	_, err = unix.Write(fd, []byte("x"))
	assert.ErrorIs(t, err, unix.ECONNABORTED)
	assert.Equal(t, ErrGone, s.Destroy())
}

func TestDestroyErrors(t *testing.T) {
	t.Parallel()
	assert.NoError(t, explainDestroy(nil))
	assert.Equal(t, ErrGone, explainDestroy(unix.ENOENT))
	err := explainDestroy(unix.EOPNOTSUPP)
	assert.ErrorIs(t, err, unix.EOPNOTSUPP)
	assert.ErrorContains(t, err, "CONFIG_INET_DIAG_DESTROY")
	assert.ErrorContains(t, explainDestroy(unix.EPERM), "it takes CAP_NET_ADMIN in the network namespace of the socket")
	assert.EqualError(t, (&Socket{MPTCP: true}).Destroy(), "the socket uses Multipath TCP, whose subflows the kernel would open again")
	assert.EqualError(t, new(Socket).Destroy(), "it is no connection")
}
