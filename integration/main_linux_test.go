// Package integration_test runs real programs across a firewall that forgets
// silent connections: without package keepalive, to see them hang, and with it.
package integration_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	forgets  = 3 * time.Second // the firewall's timeout of a silent connection
	silence  = 7 * time.Second // how long the programs have nothing to say
	patience = 4 * time.Second // how long they may take to say something afterwards
)

// policy keeps the firewall's memory fresh, even where one probe is lost. What
// net sets, 15 s, 15 s and 9, does not.
var policy = keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 3}

// What a socket holds in a new network namespace that nobody has set, with
// keepalive on and off.
var (
	systems = keepalive.Config{Idle: 7200 * time.Second, Interval: 75 * time.Second, Count: 9}
	off     = keepalive.Config{Disable: true, Idle: systems.Idle, Interval: systems.Interval, Count: systems.Count}
)

func TestMain(m *testing.M) {
	if os.Getenv(activatedProgram) != "" {
		activated()
		return
	}
	netlab.Main(m)
}

func newLab(t testing.TB) *netlab.Lab {
	t.Helper()
	return netlab.NewLab(t, netlab.Rules{Established: forgets})
}

// program connects with d and uses the connection once. What it returns uses the
// connection again, or awaits what the other end says on it.
type program func(t *testing.T, d *dialer) func(context.Context) error

// way is one way to open the connection that a program uses.
type way struct {
	name     string
	open     func(t *testing.T) func(context.Context) error
	survives bool // whether the connection is expected to be of use after the silence
}

// acrossSilence opens a connection each way, waits until the firewall has
// forgotten those that are silent, and then uses them all at once. One that the
// firewall has forgotten hangs: no error tells the program.
func acrossSilence(t *testing.T, ways ...way) {
	t.Helper()
	resume := make([]func(context.Context) error, len(ways))
	for i, w := range ways {
		resume[i] = w.open(t)
	}
	time.Sleep(silence)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs, took := make([]error, len(ways)), make([]time.Duration, len(ways))
	since := time.Now()
	var wg sync.WaitGroup
	for i := range ways {
		wg.Go(func() {
			errs[i] = resume[i](ctx)
			took[i] = time.Since(since).Round(time.Millisecond)
		})
	}
	wg.Wait()
	for i, w := range ways {
		if w.survives {
			assert.NoError(t, errs[i], w.name)
			t.Logf("%s: used again within %v", w.name, took[i])
		} else if assert.Error(t, errs[i], "%s: the firewall should have forgotten the connection", w.name) {
			assert.True(t, isTimeout(errs[i]), "%s: %v", w.name, errs[i])
			t.Logf("%s: hung until the test gave up after %v: %v", w.name, took[i], errs[i])
		}
	}
}

// withAndWithout runs a program whose client dials as usual, and one that dials
// with this package.
func withAndWithout(t *testing.T, usual, tuned *dialer, p program) {
	t.Helper()
	acrossSilence(t,
		way{"without keepalive.Dialer", func(t *testing.T) func(context.Context) error { return p(t, usual) }, false},
		way{"with keepalive.Dialer", func(t *testing.T) func(context.Context) error { return p(t, tuned) }, true},
	)
	assert.Equal(t, policy, tuned.held(t), "the client has changed what was set")
}

// soon is a context for what takes no time, unless it hangs.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// next returns what a channel delivers soon.
func next[T any](t testing.TB, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(time.Minute): // soon would have ended in a Cleanup
		t.Fatalf("nothing comes from the %T", from)
	}
	return v
}

// within waits for f, which knows no context.
func within(ctx context.Context, f func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	return receive(ctx, ended)
}

// receive waits for an error that a goroutine or a callback sends.
func receive(ctx context.Context, errs <-chan error) error {
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isTimeout reports whether err says that the test's patience ended.
func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		status.Code(err) == codes.DeadlineExceeded
}

// dialer dials from a host, and remembers what it dialed.
type dialer struct {
	host *netlab.Host
	dial keepalive.DialFunc

	lost chan error // what Watch reports, nil for connections without it

	mu    sync.Mutex
	conns []net.Conn
}

// plain dials as net does.
func plain(host *netlab.Host) *dialer {
	return &dialer{host: host, dial: new(net.Dialer).DialContext}
}

func tuned(host *netlab.Host, c keepalive.Config) *dialer {
	return &dialer{host: host, dial: (&keepalive.Dialer{Config: c}).DialContext}
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.host.Within(d.dial)(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.conns = append(d.conns, conn)
		if d.lost != nil {
			conn = keepalive.Watch(conn, func(err error) { d.lost <- err })
		}
	}
	return conn, err
}

// Dial is for clients that know no context.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// netDialer returns the dialer of a client that takes a *net.Dialer and is run on
// the host: with the policy, or as net dials if that is nil.
func (d *dialer) netDialer(t *testing.T, policy *keepalive.Config) *net.Dialer {
	t.Helper()
	base := &net.Dialer{ControlContext: func(_ context.Context, _, _ string, rc syscall.RawConn) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.conns = append(d.conns, rawSocket{raw: rc})
		return nil
	}}
	if policy == nil {
		return base
	}
	nd, err := policy.NetDialer(base)
	require.NoError(t, err)
	return nd
}

// rawSocket is as much of a connection as is known before it is connected.
type rawSocket struct {
	net.Conn
	raw syscall.RawConn
}

func (s rawSocket) SyscallConn() (syscall.RawConn, error) { return s.raw, nil }

// count returns how many connections were dialed.
func (d *dialer) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns)
}

// close closes the connections under the client that uses them.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		conn.Close()
	}
}

// held returns what the kernel holds for the only connection that was dialed.
func (d *dialer) held(t testing.TB) keepalive.Config {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.conns, 1, "the client has connected anew")
	return held(t, d.conns[0])
}

// held returns what the kernel holds.
func held(t testing.TB, conn net.Conn) keepalive.Config {
	t.Helper()
	c, err := keepalive.Get(conn)
	require.NoError(t, err)
	return c
}

// plainListen is net's, without MPTCP, so that nothing differs but the policy.
func plainListen() *net.ListenConfig {
	lc := new(net.ListenConfig)
	lc.SetMultipathTCP(false)
	return lc
}
