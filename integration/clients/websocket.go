package clients

import (
	"context"
	"net/http"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/seed-7be6acb7/keepalive"
)

// Gorilla opens a WebSocket.
func Gorilla(ctx context.Context, url string, dial keepalive.DialFunc) (*gorilla.Conn, error) {
	ws := &gorilla.Dialer{NetDialContext: dial, HandshakeTimeout: 45 * time.Second}
	conn, _, err := ws.DialContext(ctx, url, nil)
	return conn, err
}

// Coder opens a WebSocket.
func Coder(ctx context.Context, url string, dial keepalive.DialFunc) (*coder.Conn, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial}
	conn, _, err := coder.Dial(ctx, url, &coder.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	return conn, err
}
