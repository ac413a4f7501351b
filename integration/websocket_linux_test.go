package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/require"
)

// A WebSocket that has nothing to say for a while.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	url := serveWebSocket(t, lab.Server)
	for name, open := range map[string]func(t *testing.T, d *dialer) webSocket{
		"gorilla": func(t *testing.T, d *dialer) webSocket {
			conn, err := clients.Gorilla(soon(t), url, d.DialContext)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close() })
			return gorillaSocket{conn}
		},
		"coder": func(t *testing.T, d *dialer) webSocket {
			conn, err := clients.Coder(soon(t), url, d.DialContext)
			require.NoError(t, err)
			t.Cleanup(func() { conn.CloseNow() })
			return coderSocket{conn}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withAndWithout(t, plain(lab.Client), tuned(lab.Client, policy), func(t *testing.T, d *dialer) func(context.Context) error {
				socket := open(t, d)
				require.NoError(t, hear(soon(t), socket, "before"))
				return func(ctx context.Context) error { return hear(ctx, socket, "after") }
			})
		})
		t.Run(name+", loss", func(t *testing.T) {
			losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
				socket := open(t, d)
				return func(ctx context.Context) error {
					_, err := socket.read(ctx)
					return err
				}
			}, theError, theError)
		})
	}
}

func hear(ctx context.Context, socket webSocket, word string) error {
	if err := socket.write(ctx, word); err != nil {
		return err
	}
	got, err := socket.read(ctx)
	if err == nil && got != word {
		err = fmt.Errorf("heard %q, want %q", got, word)
	}
	return err
}

type webSocket interface {
	read(context.Context) (string, error)
	write(context.Context, string) error
}

type gorillaSocket struct{ conn *gorilla.Conn }

func (s gorillaSocket) read(ctx context.Context) (string, error) {
	if deadline, ok := ctx.Deadline(); ok {
		s.conn.SetReadDeadline(deadline)
	}
	_, b, err := s.conn.ReadMessage()
	return string(b), err
}

func (s gorillaSocket) write(_ context.Context, word string) error {
	return s.conn.WriteMessage(gorilla.TextMessage, []byte(word))
}

type coderSocket struct{ conn *coder.Conn }

func (s coderSocket) read(ctx context.Context) (string, error) {
	_, b, err := s.conn.Read(ctx)
	return string(b), err
}

func (s coderSocket) write(ctx context.Context, word string) error {
	return s.conn.Write(ctx, coder.MessageText, []byte(word))
}

// serveWebSocket serves a WebSocket that sends back what it receives.
func serveWebSocket(t *testing.T, host *netlab.Host) (url string) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := coder.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, b, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	})}
	ln := host.Listen(t, plainListen(), "tcp4", 0)
	t.Cleanup(func() { server.Close() })
	go server.Serve(ln)
	return "ws://" + ln.Addr().String()
}
