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
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// peer is the environment variable that holds the address of a silentpeer, for
// systems that can't run one.
const peer = "KEEPALIVE_SILENT_PEER"

// timeout is for what takes no time, on any machine.
const timeout = 20 * time.Second

// A dead peer is noticed, whatever set the policy, and said to be lost once.
func TestDeadPeer(t *testing.T) {
	t.Parallel()
	policy := keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 3}
	if netlab.OldWindows.Here() {
		policy.Count = 0
	}
	address := os.Getenv(peer)
	if address == "" {
		address = start(t)
	}
	for name, connect := range map[string]func(*testing.T) net.Conn{
		"Dialer": func(t *testing.T) net.Conn {
			return dial(t, address, (&keepalive.Dialer{Config: policy}).DialContext)
		},
		"WrapDial": func(t *testing.T) net.Conn {
			return dial(t, address, policy.WrapDial(new(net.Dialer).DialContext))
		},
		"Apply": func(t *testing.T) net.Conn {
			conn := dial(t, address, new(net.Dialer).DialContext)
			require.NoError(t, policy.Apply(conn))
			return conn
		},
		"ListenConfig": func(t *testing.T) net.Conn {
			return accept(t, address, func(local string) (net.Listener, error) {
				return (&keepalive.ListenConfig{Config: policy}).Listen(t.Context(), "tcp4", local)
			})
		},
		"NewListener": func(t *testing.T) net.Conn {
			return accept(t, address, func(local string) (net.Listener, error) {
				var lc net.ListenConfig
				lc.SetMultipathTCP(false)
				ln, err := lc.Listen(t.Context(), "tcp4", local)
				require.NoError(t, err)
				return keepalive.NewListener(ln, policy)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err := io.ReadFull(conn, make([]byte, 1))
			require.NoError(t, err)
			began := time.Now()
			_, err = conn.Read(make([]byte, 1))
			elapsed := time.Since(began)
			assert.True(t, keepalive.IsPeerLost(err), "%v after %v", err, elapsed)
			want, _ := policy.DetectionTime()
			assert.Greater(t, elapsed, want-want/8)
			assert.Less(t, elapsed, want+want/8+time.Second)
			_, err = conn.Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
		})
	}
}

// dial returns a connection whose peer is about to fall silent.
func dial(t *testing.T, address string, dial keepalive.DialFunc) net.Conn {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	conn, err := dial(ctx, "tcp4", address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintln(conn)
	require.NoError(t, err)
	return conn
}

// accept is dial for a connection that the peer makes.
func accept(t *testing.T, address string, listen func(local string) (net.Listener, error)) net.Conn {
	client, err := net.DialTimeout("tcp4", address, timeout)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	ln, err := listen(net.JoinHostPort(client.LocalAddr().(*net.TCPAddr).IP.String(), "0"))
	require.NoError(t, err)
	defer ln.Close()
	_, err = fmt.Fprintln(client, ln.Addr())
	require.NoError(t, err)
	conn, err := acceptWithin(ln)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// acceptWithin accepts a connection, and closes ln if none comes.
func acceptWithin(ln net.Listener) (net.Conn, error) {
	defer time.AfterFunc(timeout, func() { ln.Close() }).Stop()
	return ln.Accept()
}
