//go:build !js && !wasip1

package readback

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHTTP(t *testing.T) {
	c := tcptest.Supported(keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3})
	d := &keepalive.Dialer{Config: c}
	serverTLS, clientTLS := tcptest.TLSConfigs(t)
	for _, tt := range []struct {
		name, proto string
		tls, h2     bool
	}{
		{"plain", "HTTP/1.1", false, false},
		{"TLS", "HTTP/1.1", true, false},
		{"HTTP2", "HTTP/2.0", true, true},
	} {
		for name, ln := range map[string]net.Listener{
			"ListenConfig": tcptest.Listen(t, &keepalive.ListenConfig{Config: c}, "tcp"),
			"Listener":     tcptest.WrappedListen(t, c, "tcp"),
		} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				seen := make(chan net.Conn, 1)
				server := &http.Server{
					Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }),
					ConnState: func(conn net.Conn, state http.ConnState) {
						if state == http.StateNew {
							seen <- conn
						}
					},
				}
				scheme := "http"
				if tt.tls {
					scheme = "https"
					server.TLSConfig = serverTLS.Clone()
					go server.ServeTLS(ln, "", "")
				} else {
					go server.Serve(ln)
				}
				defer server.Close()

				transport := &http.Transport{DialContext: d.DialContext, TLSClientConfig: clientTLS.Clone(), ForceAttemptHTTP2: tt.h2}
				defer transport.CloseIdleConnections()
				client := &http.Client{Transport: transport, Timeout: time.Minute}
				response, err := client.Get(scheme + "://" + ln.Addr().String())
				require.NoError(t, err)
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				assert.Equal(t, tt.proto, string(body))
				tcptest.AssertOptions(t, c, <-seen)
			})
		}
	}
}
