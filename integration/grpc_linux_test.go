package integration_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/integration/clients"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpckeepalive "google.golang.org/grpc/keepalive"
)

// A server stream that says nothing for a while: the Watch of grpc's own health
// service. One end with a policy is enough to keep the path open.
func TestGRPC(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	usual := serveGRPC(t, lab.Server, plainListen())
	tunedServer := serveGRPC(t, lab.Server, &keepalive.ListenConfig{Config: policy})
	d := tuned(lab.Client, policy)
	acrossSilence(t,
		way{"without this package", func(t *testing.T) func(context.Context) error {
			return usual.watch(t, grpcDefault(lab.Client))
		}, false},
		way{"with keepalive.Dialer", func(t *testing.T) func(context.Context) error {
			return usual.watch(t, d)
		}, true},
		way{"with keepalive.ListenConfig", func(t *testing.T) func(context.Context) error {
			return tunedServer.watch(t, grpcDefault(lab.Client))
		}, true},
	)
	assert.Equal(t, policy, d.held(t))
}

func TestGRPCLoss(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	s := serveGRPC(t, lab.Server, plainListen())
	losesPeer(t, lab.Client, func(t *testing.T, d *dialer) func(context.Context) error {
		client := healthpb.NewHealthClient(dialGRPC(t, s.address, d))
		stream, err := client.Watch(t.Context(), new(healthpb.HealthCheckRequest))
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		return func(context.Context) error {
			_, err := stream.Recv()
			return err
		}
	}, textOnly, textOnly)
}

// gRPC sets TCP_USER_TIMEOUT to the Timeout of its own pings: on a client that
// is told to ping, and on every server, whose Time is 2 h unless told otherwise.
func TestGRPCSetsUserTimeout(t *testing.T) {
	t.Parallel()
	lab := newLab(t)
	withTimeout := policy
	withTimeout.UserTimeout = 2500 * time.Millisecond
	pings := func(seconds time.Duration) keepalive.Config {
		c := policy
		c.UserTimeout = seconds * time.Second
		return c
	}
	t.Run("client", func(t *testing.T) {
		s := serveGRPC(t, lab.Server, plainListen())
		for name, tt := range map[string]struct {
			params []grpc.DialOption
			want   keepalive.Config
		}{
			"by default": {nil, withTimeout},
			"with pings": {[]grpc.DialOption{grpc.WithKeepaliveParams(grpckeepalive.ClientParameters{Time: time.Minute})}, pings(20)},
			"with pings and a Timeout": {[]grpc.DialOption{grpc.WithKeepaliveParams(
				grpckeepalive.ClientParameters{Time: time.Minute, Timeout: 7 * time.Second})}, pings(7)},
		} {
			d := tuned(lab.Client, withTimeout)
			cc := dialGRPC(t, s.address, d, tt.params...)
			_, err := healthpb.NewHealthClient(cc).Check(soon(t), new(healthpb.HealthCheckRequest))
			require.NoError(t, err, name)
			assert.Equal(t, tt.want, d.held(t), name)
		}
	})
	accepted := func(t *testing.T, c keepalive.Config, params ...grpc.ServerOption) keepalive.Config {
		s := serveGRPC(t, lab.Server, &keepalive.ListenConfig{Config: c}, params...)
		cc := dialGRPC(t, s.address, plain(lab.Client))
		_, err := healthpb.NewHealthClient(cc).Check(soon(t), new(healthpb.HealthCheckRequest))
		require.NoError(t, err)
		return held(t, next(t, s.accepted))
	}
	// It looks for a *net.TCPConn.
	t.Run("client with Watch", func(t *testing.T) {
		s := serveGRPC(t, lab.Server, plainListen())
		d := tuned(lab.Client, withTimeout)
		d.lost = make(chan error, 8)
		cc := dialGRPC(t, s.address, d, grpc.WithKeepaliveParams(grpckeepalive.ClientParameters{Time: time.Minute}))
		_, err := healthpb.NewHealthClient(cc).Check(soon(t), new(healthpb.HealthCheckRequest))
		require.NoError(t, err)
		assert.Equal(t, withTimeout, d.held(t))
	})
	t.Run("server", func(t *testing.T) {
		for name, tt := range map[string]struct {
			params []grpc.ServerOption
			want   keepalive.Config
		}{
			"by default": {nil, pings(20)},
			"with a Timeout": {[]grpc.ServerOption{grpc.KeepaliveParams(
				grpckeepalive.ServerParameters{Timeout: 7 * time.Second})}, pings(7)},
			"without pings": {[]grpc.ServerOption{grpc.KeepaliveParams(
				grpckeepalive.ServerParameters{Time: math.MaxInt64})}, withTimeout},
		} {
			assert.Equal(t, tt.want, accepted(t, withTimeout, tt.params...), name)
		}
	})
	// A UserTimeout takes the place of Count.
	t.Run("detection", func(t *testing.T) {
		c := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3, UserTimeout: 75 * time.Second}
		before, _ := c.DetectionTime()
		assert.Equal(t, 75*time.Second, before)
		after, _ := accepted(t, c).DetectionTime()
		assert.Equal(t, 65*time.Second, after)
		ours := grpc.KeepaliveParams(grpckeepalive.ServerParameters{Timeout: c.UserTimeout})
		assert.Equal(t, c, accepted(t, c, ours))

		short := keepalive.Config{Idle: 12 * time.Second, Interval: 3 * time.Second, Count: 3}
		want, _ := short.DetectionTime()
		unchanged, _ := accepted(t, short).DetectionTime()
		assert.Equal(t, want, unchanged, "gRPC's 20 s lie between the last two probes")
	})
}

// grpcDefault dials as gRPC does by default: NetDialerWithTCPKeepalive in
// internal/tcp_keepalive_unix.go.
func grpcDefault(host *netlab.Host) *dialer {
	nd := &net.Dialer{
		KeepAlive: -1,
		Control: func(_, _ string, rc syscall.RawConn) error {
			var err error
			if closed := rc.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			}); closed != nil {
				return closed
			}
			return err
		},
	}
	return &dialer{host: host, dial: nd.DialContext}
}

type grpcServer struct {
	address  string
	health   *health.Server
	watched  int
	accepted chan net.Conn
}

func serveGRPC(t *testing.T, host *netlab.Host, lc netlab.ListenConfig, options ...grpc.ServerOption) *grpcServer {
	t.Helper()
	ln := host.Listen(t, lc, "tcp4", 0)
	s := &grpcServer{address: ln.Addr().String(), health: health.NewServer(), accepted: make(chan net.Conn, 8)}
	server := grpc.NewServer(options...)
	healthpb.RegisterHealthServer(server, s.health)
	t.Cleanup(server.Stop)
	go server.Serve(&observed{ln, s.accepted})
	return s
}

// observed shows the connections that it accepts.
type observed struct {
	net.Listener
	accepted chan<- net.Conn
}

func (l *observed) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- conn
	}
	return conn, err
}

func dialGRPC(t *testing.T, address string, d *dialer, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	cc, err := clients.GRPC("passthrough:///"+address, d.DialContext,
		append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { cc.Close() })
	return cc
}

// watch watches a service that stops serving after the silence.
func (s *grpcServer) watch(t *testing.T, d *dialer) func(context.Context) error {
	t.Helper()
	s.watched++
	service := fmt.Sprint("service", s.watched)
	s.health.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
	client := healthpb.NewHealthClient(dialGRPC(t, s.address, d))
	stream, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: service})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, first.Status)

	return func(ctx context.Context) error {
		received := make(chan error, 1)
		go func() {
			next, err := stream.Recv()
			if err == nil && next.Status != healthpb.HealthCheckResponse_NOT_SERVING {
				err = fmt.Errorf("received %v", next)
			}
			received <- err
		}()
		s.health.SetServingStatus(service, healthpb.HealthCheckResponse_NOT_SERVING)
		select {
		case err := <-received:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
