package keepalive_test

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// lacking is a TCP connection of a kernel that lacks the options. What sets them
// gets a UDP socket, which does.
type lacking struct {
	*net.TCPConn
	instead *net.UDPConn
}

func (l *lacking) SyscallConn() (syscall.RawConn, error) {
	if l.instead == nil {
		return l.TCPConn.SyscallConn()
	}
	defer func() { l.instead = nil }()
	return l.instead.SyscallConn()
}

func (*lacking) SetKeepAliveConfig(net.KeepAliveConfig) error { return unix.ENOPROTOOPT } // portable

// What would fail for every connection ends the loop of the server.
func TestAcceptWhereTheKernelLacksAnOption(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer udp.Close()
	plain := tcptest.PlainListen(t, "tcp4")
	inner := &tcptest.FakeListener{Listener: plain}
	for range 2 {
		_, accepted := tcptest.Pair(t, new(net.Dialer), plain)
		inner.Conns = append(inner.Conns, &lacking{accepted.(*net.TCPConn), udp})
	}
	ln, err := keepalive.NewListener(inner, tcptest.Quick)
	require.NoError(t, err)
	_, err = ln.Accept()
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorIs(t, err, unix.ENOPROTOOPT)
	assert.Len(t, inner.Conns, 1, "the next one is not tried")
}

func TestGetListener(t *testing.T) {
	t.Parallel()
	inner := tcptest.PlainListen(t, "tcp4")
	off, err := keepalive.GetListener(inner)
	require.NoError(t, err)
	assert.True(t, off.Disable)
	assert.Equal(t, keepalive.SystemDefaults().Idle, off.Idle)

	wrapped, err := keepalive.NewListener(inner, tcptest.Quick)
	require.NoError(t, err)
	got, err := keepalive.GetListener(wrapped)
	require.NoError(t, err)
	assert.Equal(t, off, got, "the listening socket is left alone")
	twice, err := keepalive.NewListener(wrapped, tcptest.Quick)
	require.NoError(t, err)
	got, err = keepalive.GetListener(twice)
	require.NoError(t, err)
	assert.Equal(t, off, got)

	set, err := keepalive.GetListener(tcptest.Listen(t, &keepalive.ListenConfig{Config: tcptest.Quick}, "tcp4"))
	require.NoError(t, err)
	if tcptest.Portable {
		assert.Equal(t, off, set, "the policy is set on what is accepted")
	} else {
		assert.Equal(t, tcptest.Quick, set)
	}

	other, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	require.NoError(t, err)
	defer other.Close()
	closed := tcptest.PlainListen(t, "tcp4")
	closed.Close()
	for ln, want := range map[net.Listener]error{
		other:                     errors.ErrUnsupported,
		new(tcptest.FakeListener): errors.ErrUnsupported,
		closed:                    net.ErrClosed,
	} {
		assert.ErrorIs(t, tcptest.Err(keepalive.GetListener(ln)), want, "%T", ln)
	}
	assert.EqualError(t, tcptest.Err(keepalive.GetListener(nil)), "keepalive: GetListener needs a listener, got nil")
}
