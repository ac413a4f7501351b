package clients

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/seed-7be6acb7/keepalive"
)

// HTTPClient is a client with a pool of its own.
func HTTPClient(dial keepalive.DialFunc) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = dial
	return &http.Client{Transport: transport}
}

// ServeHTTP serves connections that inherit the policy.
func ServeHTTP(ctx context.Context, server *http.Server, policy keepalive.Config) error {
	lc := &keepalive.ListenConfig{Config: policy}
	ln, err := lc.Listen(ctx, "tcp", server.Addr)
	if err != nil {
		return err
	}
	return server.Serve(ln)
}

// ListenAndServe applies the policy to connections of a listener that the server
// opens.
func ListenAndServe(server *http.Server, policy keepalive.Config) error {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if err := policy.Apply(conn); err != nil {
			log.Print(err)
		}
		return ctx
	}
	return server.ListenAndServe()
}

// A LossListener is for a server whose ConnContext is LossContext. The context of a
// request then ends with the loss of the client as its cause.
type LossListener struct{ net.Listener }

func (l LossListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	inner := &lossConn{conn.(*net.TCPConn), func(error) {}}
	return keepalive.Watch(inner, func(err error) { inner.cancel(err) }), nil
}

type lossConn struct {
	*net.TCPConn
	cancel context.CancelCauseFunc
}

func (c *lossConn) Close() error {
	c.cancel(nil)
	return c.TCPConn.Close()
}

// LossContext is the ConnContext of a server on a LossListener.
func LossContext(ctx context.Context, conn net.Conn) context.Context {
	for {
		switch c := conn.(type) {
		case *lossConn:
			ctx, c.cancel = context.WithCancelCause(ctx)
			return ctx
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn() // of TLS, of Watch
		default:
			return ctx
		}
	}
}

// Answer writes news to a client that waits for it. The error tells whether the
// client was lost or has gone.
func Answer(w http.ResponseWriter, r *http.Request, news <-chan string) error {
	select {
	case text := <-news:
		_, err := io.WriteString(w, text)
		return err
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
}
