//go:build ignore

package keepalive_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
	"github.com/stretchr/testify/assert"
)

// Both loops of the example, with the primary dead. Neither may take the other's
// turn, so each has a connection.
func TestReadLoops(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		loop func(net.Conn, time.Duration, func(), func([]byte)) error
		lost bool
	}{
		"right": {follow, true},
		"usual": {followUsual, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, since := silenced(t, quick, false, false)
			periods := 0
			err := tt.loop(conn, time.Second, func() { periods++ }, func([]byte) {})
			within(t, since, 4*time.Second, 4500*time.Millisecond)
			assert.Equal(t, tt.lost, keepalive.IsPeerLost(err), "%v", err)
			assert.Equal(t, tt.lost, err != nil, "the usual loop says that all has come")
			assert.GreaterOrEqual(t, periods, 3)
		})
	}
}

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
	transport := &http.Transport{DialContext: (&keepalive.Dialer{Config: quick}).DialContext}
	defer transport.CloseIdleConnections()
	result := make(chan error, 1)
	go func() { result <- second((&http.Client{Transport: transport}).Get(server.URL)) }()
	<-requests
	peer := <-silent
	settled(t, peer)
	netlab.MustSilence(t, peer.(*net.TCPConn))

	err := <-result
	assert.IsType(t, new(url.Error), err)
	assert.ErrorIs(t, err, syscall.ETIMEDOUT)
	assert.True(t, keepalive.IsPeerLost(err))
}
