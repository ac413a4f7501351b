package netlab

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestSilence(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ listen, dial string }{
		"IPv4":                {"127.0.0.1:0", "127.0.0.1"},
		"IPv6":                {"[::1]:0", "::1"},
		"IPv4 on IPv6 socket": {"[::]:0", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, silent := pair(t, tt.listen, tt.dial)
			MustSilence(t, silent)
			assertSilent(t, conn, silent)
			assertSilent(t, silent, conn)

			require.NoError(t, Wake(silent))
			for _, end := range []net.Conn{conn, silent} {
				end.SetReadDeadline(time.Now().Add(time.Minute))
				_, err := end.Read(make([]byte, 1))
				assert.NoError(t, err, "the byte is sent again")
			}
		})
	}
}

// assertSilent asserts that a byte does not get from one end to the other.
func assertSilent(t *testing.T, from, to net.Conn) {
	t.Helper()
	_, err := from.Write([]byte("x"))
	require.NoError(t, err)
	to.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // and two retransmissions
	_, err = to.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// The kernel delays the acknowledgement of what the other end answers at once.
func TestSilenceAcknowledgesFirst(t *testing.T) {
	t.Parallel()
	conn, silent := pair(t, "127.0.0.1:0", "127.0.0.1")
	for range 10 {
		for _, ends := range [][2]net.Conn{{conn, silent}, {silent, conn}} {
			_, err := ends[0].Write([]byte("x"))
			require.NoError(t, err)
			_, err = ends[1].Read(make([]byte, 1))
			require.NoError(t, err)
		}
	}
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	_, err = silent.Read(make([]byte, 1))
	require.NoError(t, err)
	MustSilence(t, silent)
	assert.Eventually(t, func() bool { return unacked(t, conn) == 0 }, 5*time.Second, time.Millisecond)
}

func unacked(t *testing.T, conn *net.TCPConn) (segments uint32) {
	t.Helper()
	require.NoError(t, control(conn, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			segments = info.Unacked
		}
		return err
	}))
	return segments
}

// A kernel without CONFIG_TCP_MD5SIG.
func TestSilenceByFilter(t *testing.T) {
	t.Parallel()
	conn, silent := pair(t, "127.0.0.1:0", "127.0.0.1")
	err := silenceWithout(silent, call{unix.SYS_SETSOCKOPT, 2, unix.TCP_MD5SIG, unix.ENOPROTOOPT})
	if errors.Is(err, os.ErrPermission) {
		Skip(t, err)
	}
	require.NoError(t, err)
	assertSilent(t, conn, silent)

	require.NoError(t, Wake(silent))
	silent.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = silent.Read(make([]byte, 1))
	assert.NoError(t, err, "the byte is sent again")
}

func TestSilenceRefused(t *testing.T) {
	t.Parallel()
	_, conn := pair(t, "127.0.0.1:0", "127.0.0.1")
	err := silenceWithout(conn,
		call{unix.SYS_SETSOCKOPT, 2, unix.TCP_MD5SIG, unix.ENOPROTOOPT},
		call{unix.SYS_SETSOCKOPT, 2, unix.SO_ATTACH_FILTER, unix.EPERM})
	assert.EqualError(t, err, "netlab: setsockopt TCP_MD5SIG: protocol not available, "+
		"and setsockopt SO_ATTACH_FILTER: operation not permitted")
	assert.ErrorIs(t, err, os.ErrPermission)
}

// silenceWithout is Silence while the calls fail.
func silenceWithout(conn *net.TCPConn, refused ...call) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := refuse(refused)
		if err == nil {
			err = Silence(conn)
		}
		result <- err
	}()
	return <-result
}

func TestSilenceClosed(t *testing.T) {
	t.Parallel()
	_, closed := pair(t, "127.0.0.1:0", "127.0.0.1")
	closed.Close()
	assert.ErrorIs(t, Silence(closed), net.ErrClosed)
}

// pair returns both ends of a connection.
func pair(t *testing.T, listen, dial string) (conn, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", listen)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAFNOSUPPORT) {
		Skip(t, err) // no IPv6
	}
	require.NoError(t, err)
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	c, err := net.Dial("tcp", net.JoinHostPort(dial, port))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	a, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	return c.(*net.TCPConn), a.(*net.TCPConn)
}
