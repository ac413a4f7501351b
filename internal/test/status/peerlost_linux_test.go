// Package status holds what Stat and IsPeerLost say of connections whose peers
// answer, fall silent and come back.
package status

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
)

func TestMain(m *testing.M) { netlab.Main(m) }

func TestPeerLostThroughHTTP(t *testing.T) {
	t.Parallel()
	requests := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- struct{}{}
		<-requests
		panic(http.ErrAbortHandler)
	}))
	silent := make(chan net.Conn, 1)
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			silent <- conn
		}
	}
	server.Start()
	defer server.Close()
	defer close(requests)
	transport := &http.Transport{DialContext: (&keepalive.Dialer{Config: tcptest.Quick}).DialContext}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	result := make(chan error, 1)
	go func() { result <- tcptest.Err(client.Get(server.URL)) }()
	<-requests
	peer := <-silent
	tcptest.AwaitAcked(t, peer)
	netlab.MustSilence(t, peer.(*net.TCPConn))

	err := <-result
	assert.IsType(t, new(url.Error), err)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.True(t, keepalive.IsPeerLost(err))
}
