package netlab

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { Main(m) }

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

// Main gives an unprivileged process what the tests above need.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 || os.Getenv(inside) != "" {
		return // the tests above are run by one
	}
	dir, err := os.MkdirTemp("", "netlab")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	binary := filepath.Join(dir, "netlab.test")
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, self, 0o755))

	cmd := exec.Command(binary, "-test.v", "-test.run=TestSilence|TestNewNamespace|TestLabForget$|TestHostReboot")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "no user namespace") {
		Skip(t, os.ErrPermission)
	}
	require.NoError(t, err, "%s", out)
	assert.Equal(t, 5, strings.Count("\n"+string(out), "\n--- PASS"), "%s", out)
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
