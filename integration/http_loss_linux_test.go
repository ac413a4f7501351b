package integration_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What an HTTP client makes of a server that is lost before it answers.
func TestHTTPLoss(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			lab := newLab(t)
			s := serveHTTP(t, lab.Server, plainListen(), proto)
			request := func(method string) program {
				return func(t *testing.T, d *dialer) func(context.Context) error {
					client := s.newClient(t, d)
					_, err := s.get(soon(t), client, "/")
					require.NoError(t, err)
					path := "/unanswered?client=" + d.conns[0].LocalAddr().String()
					return func(ctx context.Context) error {
						_, err := s.do(ctx, client, method, path)
						return err
					}
				}
			}
			get := theError
			if proto == "HTTP/1.1" {
				get = retried // on a connection that was pooled
			}
			t.Run("GET", func(t *testing.T) { losesPeer(t, lab.Client, request(http.MethodGet), get, get) })
			t.Run("POST", func(t *testing.T) { losesPeer(t, lab.Client, request(http.MethodPost), theError, theError) })
		})
	}
}

// A ReverseProxy cuts its own answer off when it loses the server.
func TestReverseProxyLoss(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	s := serveHTTP(t, lab.Server, plainListen(), "HTTP/1.1")
	losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
		target, err := url.Parse(s.url)
		require.NoError(t, err)
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = s.newClient(t, d).Transport
		front := &httpServer{proto: "HTTP/1.1"}
		front.serve(t, &http.Server{Handler: proxy}, lab.Client.Listen(t, plainListen(), "tcp4", 0))
		client := front.newClient(t, plain(lab.Client))
		response, err := client.Get(front.url + "/unfinished")
		require.NoError(t, err)
		t.Cleanup(func() { response.Body.Close() })
		return func(context.Context) error {
			_, err := io.ReadAll(response.Body)
			return err
		}
	}, another(io.ErrUnexpectedEOF), another(io.ErrUnexpectedEOF))
}

// A handler whose client is lost, or goes.
func TestHTTPHandlerLoss(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			t.Parallel()
			lab := netlab.NewLab(t, netlab.Rules{})
			usual := func(server *http.Server, ln net.Listener) net.Listener { return ln }
			told := func(server *http.Server, ln net.Listener) net.Listener {
				server.ConnContext = clients.LossContext
				return clients.LossListener{Listener: ln}
			}
			canceled := another(context.Canceled)
			lose := func(t *testing.T, _ *dialer, server net.Conn) { silenceOther(t, server) }
			leave := func(_ *testing.T, client *dialer, _ net.Conn) { client.close() }
			for name, tt := range map[string]struct {
				listener func(*http.Server, net.Listener) net.Listener
				end      func(*testing.T, *dialer, net.Conn)
				cause    check
			}{
				"lost":               {usual, lose, canceled},
				"lost, LossListener": {told, lose, theError},
				"gone, LossListener": {told, leave, canceled},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					d := plain(lab.Client)
					tt.cause(t, d, causeOfEnd(t, lab, proto, d, tt.listener, tt.end))
				})
			}
		})
	}
}

// causeOfEnd returns the cause with which the context of a request ends.
func causeOfEnd(t *testing.T, lab *netlab.Lab, proto string, d *dialer,
	listener func(*http.Server, net.Listener) net.Listener, end func(*testing.T, *dialer, net.Conn),
) error {
	t.Helper()
	waits, causes := make(chan struct{}, 1), make(chan error, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/wait" {
			io.WriteString(w, r.Proto)
			return
		}
		waits <- struct{}{}
		causes <- clients.Answer(w, r, nil)
		assert.Equal(t, context.Canceled, r.Context().Err())
	})}
	accepted := make(chan net.Conn, 8)
	ln := &observed{lab.Server.Listen(t, plainListen(), "tcp4", 0), accepted}
	s := &httpServer{proto: proto}
	s.serve(t, server, listener(server, ln))
	client := s.newClient(t, d)
	_, err := s.get(soon(t), client, "/")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(soon(t))
	var requests sync.WaitGroup
	requests.Go(func() { s.do(ctx, client, http.MethodPost, "/wait") }) // a GET would be tried again
	defer requests.Wait()
	defer cancel()
	next(t, waits)
	end(t, d, next(t, accepted))
	return receive(ctx, causes)
}

// A handler that has taken the connection over gets the error itself.
func TestHTTPHijackLoss(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	for name, watch := range map[string]func(net.Listener) net.Listener{
		"plain":        func(ln net.Listener) net.Listener { return ln },
		"LossListener": func(ln net.Listener) net.Listener { return clients.LossListener{Listener: ln} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			accepted, ended := make(chan net.Conn, 1), make(chan error, 1)
			server := &http.Server{ConnContext: clients.LossContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, buffered, err := http.NewResponseController(w).Hijack()
				if !assert.NoError(t, err) {
					return
				}
				defer conn.Close()
				io.WriteString(conn, "!")
				_, err = buffered.ReadByte()
				ended <- err
			})}
			s := &httpServer{proto: "HTTP/1.1"}
			s.serve(t, server, watch(&observed{lab.Server.Listen(t, plainListen(), "tcp4", 0), accepted}))
			client, err := plain(lab.Client).Dial("tcp4", strings.TrimPrefix(s.url, "http://"))
			require.NoError(t, err)
			defer client.Close()
			_, err = io.WriteString(client, "GET / HTTP/1.1\r\nHost: server\r\n\r\n")
			require.NoError(t, err)
			_, err = client.Read(make([]byte, 1))
			require.NoError(t, err)
			since := time.Now()
			silenceOther(t, next(t, accepted))
			theError(t, nil, next(t, ended))
			tcptest.AssertWithin(t, since, 0, notices(t, brief)+patience)
		})
	}
}

// A ReverseProxy that has passed on a WebSocket ends it when it loses the server,
// and tells nobody.
func TestReverseProxyWebSocketLoss(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	target, err := url.Parse("http" + strings.TrimPrefix(serveWebSocket(t, lab.Server), "ws"))
	require.NoError(t, err)
	losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
		proxy := httputil.NewSingleHostReverseProxy(target)
		proxy.Transport = new(httpServer).newClient(t, d).Transport
		proxy.ErrorHandler = func(_ http.ResponseWriter, _ *http.Request, err error) { t.Errorf("ErrorHandler: %v", err) }
		front := &httpServer{proto: "HTTP/1.1"}
		front.serve(t, &http.Server{Handler: proxy}, lab.Client.Listen(t, plainListen(), "tcp4", 0))
		conn, err := clients.Coder(soon(t), "ws"+strings.TrimPrefix(front.url, "http"), plain(lab.Client).DialContext)
		require.NoError(t, err)
		t.Cleanup(func() { conn.CloseNow() })
		socket := coderSocket{conn}
		require.NoError(t, hear(soon(t), socket, "before"))
		return func(ctx context.Context) error {
			_, err := socket.read(ctx)
			return err
		}
	}, another(io.EOF), another(io.EOF))
}
