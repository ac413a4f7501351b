package netlab

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		program()
	}
	Main(m)
}

func TestSilence(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp4", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	peer, err := ln.Accept()
	require.NoError(t, err)
	defer peer.Close()
	silent := peer.(*net.TCPConn)

	MustSilence(t, silent)
	_, err = conn.Write([]byte("x"))
	require.NoError(t, err)
	silent.SetReadDeadline(time.Now().Add(time.Second))
	_, err = silent.Read(make([]byte, 1))
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, Wake(silent))
	silent.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = silent.Read(make([]byte, 1))
	assert.NoError(t, err, "the byte is sent again")
}

func TestSilenceClosed(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	ln.Close()
	assert.ErrorIs(t, Silence(ln.(*net.TCPListener)), net.ErrClosed)
}

func TestNewNamespace(t *testing.T) {
	t.Parallel()
	outside, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	NewNamespace(t)
	within, err := os.Readlink("/proc/thread-self/ns/net")
	require.NoError(t, err)
	assert.NotEqual(t, outside, within)

	Sysctl(t, "tcp_keepalive_time", "111")
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_keepalive_time")
	require.NoError(t, err)
	assert.Equal(t, "111\n", string(text))
	ln, err := net.Listen("tcp6", "[::1]:1") // nobody else is here
	require.NoError(t, err)
	ln.Close()
}

func TestIsolate(t *testing.T) {
	t.Parallel()
	outside, err := os.Readlink("/proc/self/ns/net")
	require.NoError(t, err)
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	Isolate(cmd)
	runtime.LockOSThread() // with which it would be killed
	defer runtime.UnlockOSThread()
	within, err := cmd.Output()
	if errors.Is(err, os.ErrPermission) {
		Skip(t, err)
	}
	require.NoError(t, err)
	assert.Regexp(t, `^net:\[\d+\]\n$`, string(within))
	assert.NotEqual(t, outside+"\n", string(within))
}
