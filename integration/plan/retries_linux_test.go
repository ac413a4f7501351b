package plan_test

import (
	"io"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A live peer that stops reading is spared by tcp_retries2, although data to it
// waits for longer than a silent peer would get.
func TestRetriesSpareSlowReaders(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	lab.Server.Sysctl(t, "net.ipv4.tcp_retries2", "2") // 3.7 s at most
	accept := listen(t, lab.Server, 7000)
	client := dial(t, lab.Client, lab.Server.IPv4, 7000)
	server := accept("")

	const size = 32 << 20
	wrote := make(chan error, 1)
	go func() {
		_, err := server.Write(make([]byte, size))
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatal("the data fits in the buffers, or is given up:", err)
	case <-time.After(12 * time.Second):
	}
	require.NoError(t, client.SetReadDeadline(time.Now().Add(time.Minute)))
	n, err := io.Copy(io.Discard, io.LimitReader(client, size))
	require.NoError(t, err)
	assert.EqualValues(t, size, n)
	assert.NoError(t, <-wrote)
}
