package netlab

import (
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		program()
	}
	Main(m)
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
