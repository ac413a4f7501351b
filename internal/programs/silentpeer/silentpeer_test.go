package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// peerEnv holds the address of a silentpeer, for systems that can't run one.
const peerEnv = "KEEPALIVE_SILENT_PEER"

// A dead peer is noticed, whatever set the policy, and said to be lost once.
func TestDeadPeer(t *testing.T) {
	t.Parallel()
	policy := tcptest.Supported(tcptest.Quick)
	detection, _ := policy.DetectionTime()
	peer := silentPeer(t)
	for name, connect := range map[string]func(*testing.T) net.Conn{
		"Dialer": func(t *testing.T) net.Conn {
			return dial(t, peer, (&keepalive.Dialer{Config: policy}).DialContext)
		},
		"WrapDial": func(t *testing.T) net.Conn {
			return dial(t, peer, policy.WrapDial(new(net.Dialer).DialContext))
		},
		"Apply": func(t *testing.T) net.Conn {
			conn := dial(t, peer, new(net.Dialer).DialContext)
			require.NoError(t, policy.Apply(conn))
			return conn
		},
		"ListenConfig": func(t *testing.T) net.Conn {
			return accept(t, peer, func(address string) (net.Listener, error) {
				return (&keepalive.ListenConfig{Config: policy}).Listen(t.Context(), "tcp4", address)
			})
		},
		"NewListener": func(t *testing.T) net.Conn {
			return accept(t, peer, func(address string) (net.Listener, error) {
				var lc net.ListenConfig
				lc.SetMultipathTCP(false)
				ln, err := lc.Listen(t.Context(), "tcp4", address)
				require.NoError(t, err)
				return keepalive.NewListener(ln, policy)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assertLost(t, connect(t), detection)
		})
	}
}

func silentPeer(t *testing.T) string {
	t.Helper()
	if peer := os.Getenv(peerEnv); peer != "" {
		return peer
	}
	return start(t)
}

// assertLost asserts that the peer of conn, which falls silent once it has written
// a byte, is noticed within the time.
func assertLost(t *testing.T, conn net.Conn, detection time.Duration) {
	t.Helper()
	require.NoError(t, tcptest.Read(conn))
	since := time.Now()
	err := tcptest.Read(conn)
	assert.True(t, keepalive.IsPeerLost(err), "%v", err)
	tcptest.AssertWithin(t, since, detection-detection/8, detection+detection/8+time.Second)
	assert.Equal(t, io.EOF, tcptest.Read(conn))
}

// dial returns a connection to the peer, which falls silent once it has written
// a byte.
func dial(t *testing.T, peer string, dial keepalive.DialFunc) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := dial(ctx, "tcp4", peer)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintln(conn)
	require.NoError(t, err)
	return conn
}

// accept is dial for a connection that the peer makes.
func accept(t *testing.T, peer string, listen func(address string) (net.Listener, error)) net.Conn {
	t.Helper()
	client, err := net.DialTimeout("tcp4", peer, time.Minute)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	host, _, err := net.SplitHostPort(client.LocalAddr().String())
	require.NoError(t, err)
	ln, err := listen(net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	_, err = fmt.Fprintln(client, ln.Addr())
	require.NoError(t, err)
	return tcptest.Accept(t, ln)
}
