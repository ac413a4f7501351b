package integration_test

import (
	"expvar"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The dialer of docs/clients.md, whose connections count their losses.
func TestCountLosses(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	ln := lab.Server.Listen(t, plainListen(), "tcp4", 0)
	d := &dialer{host: lab.Client, dial: clients.NewDialer().DialContext}
	conn, err := clients.CountLosses(d.DialContext)(soon(t), "tcp4", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	want := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	assert.Equal(t, want, d.held(t))

	count := func() int64 { return expvar.Get("lost_peers").(*expvar.Int).Value() }
	before := count()
	d.silence(t)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	for range 2 {
		_, err = conn.Read(make([]byte, 1))
		theError(t, d, err)
	}
	assert.Equal(t, before+1, count())
}

func TestNewNetDialer(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	ln := lab.Server.Listen(t, plainListen(), "tcp4", 0)
	nd, err := clients.NewNetDialer()
	require.NoError(t, err)
	conn, err := lab.Client.Within(nd.DialContext)(soon(t), "tcp4", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	assert.Equal(t, clients.NewDialer().Config, held(t, conn))
}
