package integration_test

import (
	"fmt"
	"net"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// The example counts a lost peer, and neither a reset nor a close.
func TestLossesAreCounted(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	d := &keepalive.Dialer{Config: brief}
	dial := clients.NewLosses(registry).Counting(d)
	lost := func(ln net.Listener) string {
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		counter := regexp.MustCompile(regexp.QuoteMeta(fmt.Sprintf("\ntcp_peers_lost_total{peer=%q,policy=%q} ", ln.Addr(), brief)) + `(.*)`)
		if m := counter.FindStringSubmatch(w.Body.String()); m != nil {
			return m[1]
		}
		return w.Body.String()
	}
	connect := func(ln net.Listener) (conn net.Conn, peer *net.TCPConn) {
		conn, err := dial(t.Context(), "tcp4", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn, tcptest.Accept(t, ln).(*net.TCPConn)
	}

	first, second := tcptest.PlainListen(t, "tcp4"), tcptest.PlainListen(t, "tcp4")
	_, silent := connect(first)
	assert.Equal(t, "0", lost(first))
	netlab.MustSilence(t, silent)

	reset, peer := connect(second)
	peer.SetLinger(0)
	peer.Close()
	assert.False(t, keepalive.IsPeerLost(tcptest.Read(reset)))
	closed, _ := connect(second)
	closed.Close()

	tcptest.Await(t, "a loss", func() bool { return lost(first) == "1" })
	assert.Equal(t, "0", lost(second))
}
