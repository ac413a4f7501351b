package main

import (
	"context"
	"net"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// start starts a silentpeer and returns its address.
func start(t *testing.T) string {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		ln.Close()
	})
	go serve(ctx, ln)
	return ln.Addr().String()
}
