package integration_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An HTTP connection waits in the pool, or for an answer. One end with a policy is
// enough to keep the path open.
func TestHTTP(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		for name, p := range map[string]func(*testing.T, *http.Client, *httpServer) func(context.Context) error{
			"pooled":    pooled,
			"long poll": longPoll,
		} {
			t.Run(proto+" "+name, func(t *testing.T) {
				t.Parallel()
				lab := newLab(t)
				usual := serveHTTP(t, lab.Server, plainListen(), proto)
				tunedServer := serveHTTP(t, lab.Server, &keepalive.ListenConfig{Config: policy}, proto)
				open := func(d *dialer, s *httpServer) func(t *testing.T) func(context.Context) error {
					return func(t *testing.T) func(context.Context) error { return p(t, s.newClient(t, d), s) }
				}
				d := tuned(lab.Client, policy)
				acrossSilence(t,
					way{"without this package", open(plain(lab.Client), usual), false},
					way{"with keepalive.Dialer", open(d, usual), true},
					way{"with keepalive.ListenConfig", open(plain(lab.Client), tunedServer), true},
				)
				assert.Equal(t, policy, d.held(t))
			})
		}
	}
}

// A server that opens its own listener has a policy through ConnContext.
func TestHTTPListenAndServe(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	want := policy
	want.UserTimeout = 10 * time.Second
	served := make(chan net.Conn, 8)
	server := &http.Server{
		Addr:    lab.Server.Address("tcp4", 8080),
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateActive {
				served <- conn
			}
		},
	}
	ended := make(chan error, 1)
	go lab.Server.Do(func() { ended <- clients.ListenAndServe(server, want) })
	t.Cleanup(func() {
		server.Close()
		assert.ErrorIs(t, next(t, ended), http.ErrServerClosed)
	})
	client := (&httpServer{}).newClient(t, plain(lab.Client))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		response, err := client.Get("http://" + server.Addr)
		require.NoError(c, err)
		response.Body.Close()
	}, time.Minute, 10*time.Millisecond, "the server listens")
	assert.Equal(t, want, held(t, next(t, served)))
}

// pooled makes a request on a connection that was idle in the pool.
func pooled(t *testing.T, client *http.Client, s *httpServer) func(context.Context) error {
	t.Helper()
	_, err := s.get(soon(t), client, "/")
	require.NoError(t, err)
	return func(ctx context.Context) error {
		reused, err := s.get(ctx, client, "/")
		if err == nil && !reused {
			return errors.New("the client has connected anew")
		}
		return err
	}
}

// longPoll waits for an answer that the server gives after the silence.
func longPoll(t *testing.T, client *http.Client, s *httpServer) func(context.Context) error {
	t.Helper()
	answered := make(chan error, 1)
	go func() {
		_, err := s.get(t.Context(), client, "/poll")
		answered <- err
	}()
	next(t, s.polled)
	return func(ctx context.Context) error {
		s.release()
		select {
		case err := <-answered:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type httpServer struct {
	url, proto string
	roots      *x509.CertPool
	polled     chan struct{} // a request waits
	release    func()        // answers those that wait
}

// serveHTTP serves plain HTTP/1.1, or HTTP/2 over TLS with the certificate of
// httptest.
func serveHTTP(t *testing.T, host *netlab.Host, lc netlab.ListenConfig, proto string) *httpServer {
	t.Helper()
	news := make(chan struct{})
	s := &httpServer{proto: proto, polled: make(chan struct{}), release: sync.OnceFunc(func() { close(news) })}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	mux.HandleFunc("/poll", func(w http.ResponseWriter, r *http.Request) {
		s.polled <- struct{}{}
		select {
		case <-news:
			io.WriteString(w, r.Proto)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/unfinished", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/unanswered", func(w http.ResponseWriter, r *http.Request) {
		if r.RemoteAddr == r.URL.Query().Get("client") {
			<-r.Context().Done()
		}
		io.WriteString(w, r.Proto)
	})
	s.serve(t, &http.Server{Handler: mux}, host.Listen(t, lc, "tcp4", 0))
	return s
}

func (s *httpServer) serve(t *testing.T, server *http.Server, ln net.Listener) {
	t.Helper()
	t.Cleanup(func() { server.Close() })
	if s.proto == "HTTP/1.1" {
		s.url = "http://" + ln.Addr().String()
		go server.Serve(ln)
		return
	}
	donor := httptest.NewTLSServer(nil)
	t.Cleanup(donor.Close)
	s.url = "https://" + ln.Addr().String()
	s.roots = x509.NewCertPool()
	s.roots.AddCert(donor.Certificate())
	server.TLSConfig = &tls.Config{Certificates: donor.TLS.Certificates}
	go server.ServeTLS(ln, "", "")
}

func (s *httpServer) newClient(t *testing.T, d *dialer) *http.Client {
	t.Helper()
	client := clients.HTTPClient(d.DialContext)
	transport := client.Transport.(*http.Transport)
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: s.roots, ServerName: "example.com"}
	t.Cleanup(d.close)
	return client
}

func (s *httpServer) get(ctx context.Context, client *http.Client, path string) (reused bool, err error) {
	return s.do(ctx, client, http.MethodGet, path)
}

func (s *httpServer) do(ctx context.Context, client *http.Client, method, path string) (reused bool, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
	})
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
	if err != nil {
		return false, err
	}
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && string(body) != s.proto {
		err = fmt.Errorf("%s: %q, want %s", response.Status, body, s.proto)
	}
	return reused, err
}
