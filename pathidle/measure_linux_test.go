//go:build !keepalive_portable

package pathidle_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// plain listens without keepalive, and without MPTCP, whose answers differ.
func plain() *net.ListenConfig {
	lc := &net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	return lc
}

// serve starts a server and returns its address. What handle returns from is
// closed, at the latest when the test ends.
func serve(t *testing.T, host *netlab.Host, lc netlab.ListenConfig, network string, handle func(net.Conn)) (address string) {
	t.Helper()
	ln := host.Listen(t, lc, network, 0)
	go accept(t, ln, handle)
	return ln.Addr().String()
}

func accept(t *testing.T, ln net.Listener, handle func(net.Conn)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		context.AfterFunc(t.Context(), func() { conn.Close() })
		go func() {
			defer conn.Close()
			handle(conn)
		}()
	}
}

// discard reads until the client closes the connection, and says nothing.
func discard(conn net.Conn) { io.Copy(io.Discard, conn) }

// measure measures from the client of the lab, and checks that it opens no more
// connections than it may at once, and leaves none open.
func measure(ctx context.Context, t *testing.T, lab *netlab.Lab, network, address string, o pathidle.Options) (pathidle.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	d := &dialer{dial: lab.Client.Within(new(net.Dialer).DialContext)}
	o.Dial = d.DialContext
	start := time.Now()
	r, err := pathidle.Measure(ctx, network, address, &o)
	t.Logf("%v, %d questions in %v, %d connections", r, len(r.Samples), time.Since(start).Round(time.Millisecond), d.dialed.Load())
	limit := int32(o.Connections)
	if limit == 0 {
		limit = 8
	}
	assert.LessOrEqual(t, d.most.Load(), limit)
	assert.Zero(t, d.open.Load(), "left open")
	return r, err
}

// dialer counts connections.
type dialer struct {
	dial               keepalive.DialFunc
	open, most, dialed atomic.Int32
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n := d.open.Add(1)
	for most := d.most.Load(); n > most && !d.most.CompareAndSwap(most, n); most = d.most.Load() {
	}
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		d.open.Add(-1)
		return nil, err
	}
	d.dialed.Add(1)
	return &counted{TCPConn: conn.(*net.TCPConn), close: sync.OnceFunc(func() { d.open.Add(-1) })}, nil
}

type counted struct {
	*net.TCPConn
	close func()
}

func (c *counted) Close() error {
	defer c.close()
	return c.TCPConn.Close()
}

// assertFound asserts that the limit lies within what was found, which is exact.
func assertFound(t *testing.T, r pathidle.Result, limit, precision time.Duration) {
	t.Helper()
	// The path counts from when it sees a segment, and conntrack in ticks.
	const slack = 50 * time.Millisecond
	assert.Equal(t, pathidle.Found, r.Verdict, "%+v", r.Samples)
	assert.Less(t, r.Survived, limit+slack)
	assert.Greater(t, r.Lost, limit-slack)
	assert.LessOrEqual(t, r.Lost-r.Survived, precision)
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	var defaults pathidle.Options
	const s = time.Second
	for name, tt := range map[string]struct {
		rules   netlab.Rules
		options []pathidle.Options // side by side
	}{
		"3 s":                {netlab.Rules{Established: 3 * s}, []pathidle.Options{defaults, {Connections: 1}}},
		"7 s":                {netlab.Rules{Established: 7 * s}, []pathidle.Options{defaults, {Precision: 3 * s}}},
		"20 s":               {netlab.Rules{Established: 20 * s}, []pathidle.Options{{Connections: 12}}},
		"NAT":                {netlab.Rules{Established: 7 * s, Masquerade: true}, []pathidle.Options{defaults}},
		"resets":             {netlab.Rules{Established: 7 * s, Unknown: netlab.Reset}, []pathidle.Options{defaults}},
		"unreachable":        {netlab.Rules{Established: 7 * s, Unknown: netlab.Unreachable}, []pathidle.Options{defaults}},
		"3 s, drops packets": {netlab.Rules{Established: 3 * s, Loss: 0.1}, []pathidle.Options{defaults}},
		"7 s, drops packets": {netlab.Rules{Established: 7 * s, Loss: 0.1}, []pathidle.Options{defaults}},
		"12 s, drops packets": {
			netlab.Rules{Established: 12 * s, Loss: 0.1}, []pathidle.Options{{Connections: 16}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.NewLab(t, tt.rules)
			for _, network := range []string{"tcp4", "tcp6"} {
				for _, o := range tt.options {
					t.Run(network, func(t *testing.T) {
						t.Parallel()
						address := serve(t, lab.Server, plain(), network, discard)
						r, err := measure(t.Context(), t, lab, network, address, o)
						require.NoError(t, err)
						assertFound(t, r, tt.rules.Established, max(time.Second, o.Precision))
						assert.Equal(t, address, r.Remote)
						reset := slices.ContainsFunc(r.Samples, func(s pathidle.Sample) bool { return s.Outcome == pathidle.Reset })
						assert.Equal(t, tt.rules.Unknown == netlab.Reset, reset)
					})
				}
			}
		})
	}
}

// What the server and the path do hides how long the path remembers.
func TestMeasureVerdicts(t *testing.T) {
	t.Parallel()
	probing := func(idle time.Duration) *net.ListenConfig {
		lc := &net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: idle, Interval: time.Second, Count: 9}}
		lc.SetMultipathTCP(false)
		return lc
	}
	after := func(d time.Duration, f func(net.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			go discard(conn)
			time.Sleep(d)
			f(conn)
		}
	}
	idle := func(net.Conn) {}
	abort := func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }
	banner := func(conn net.Conn) {
		io.WriteString(conn, strings.Repeat("220 ready\r\n", 100))
		discard(conn)
	}
	chatter := func(conn net.Conn) {
		for {
			if _, err := io.WriteString(conn, "tick\n"); err != nil {
				return
			}
			time.Sleep(3 * time.Second)
		}
	}
	labs := make(map[time.Duration]*netlab.Lab)
	for name, tt := range map[string]struct {
		listen  *net.ListenConfig
		handle  func(net.Conn)
		forgets time.Duration
		max     time.Duration
		verdict pathidle.Verdict
		after   time.Duration
		least   time.Duration // that survives
	}{
		"no firewall":          {plain(), discard, 0, 6 * time.Second, pathidle.NothingLost, 0, 6 * time.Second},
		"banner":               {plain(), banner, 0, 6 * time.Second, pathidle.NothingLost, 0, 6 * time.Second},
		"late banner":          {plain(), after(2500*time.Millisecond, banner), 5 * time.Second, 0, pathidle.Found, 0, 4 * time.Second},
		"server closes":        {plain(), after(5*time.Second, idle), 0, 0, pathidle.ServerCloses, 5 * time.Second, 3 * time.Second},
		"server resets":        {plain(), after(5*time.Second, abort), 0, 0, pathidle.ServerCloses, 5 * time.Second, 2 * time.Second},
		"server closes later":  {plain(), after(20*time.Second, idle), 4 * time.Second, 0, pathidle.Found, 0, 3 * time.Second},
		"Go server":            {new(net.ListenConfig), discard, 0, 0, pathidle.ServerSends, 15 * time.Second, 14 * time.Second},
		"Go server, firewall":  {new(net.ListenConfig), discard, 5 * time.Second, 0, pathidle.Found, 0, 4 * time.Second},
		"server probes at 3 s": {probing(3 * time.Second), discard, 5 * time.Second, 0, pathidle.ServerSends, 3 * time.Second, 2800 * time.Millisecond},
		"server speaks":        {plain(), chatter, 5 * time.Second, 0, pathidle.ServerSends, 3 * time.Second, 2800 * time.Millisecond},
	} {
		lab, ok := labs[tt.forgets]
		if !ok {
			lab = netlab.NewLab(t, netlab.Rules{Established: tt.forgets})
			labs[tt.forgets] = lab
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, lab.Server, tt.listen, "tcp4", tt.handle)
			r, err := measure(t.Context(), t, lab, "tcp4", address, pathidle.Options{Max: tt.max})
			require.NoError(t, err)
			assert.Equal(t, tt.verdict, r.Verdict)
			// Timers are late by 1/8, and servers by what they are busy with.
			assert.InDelta(t, tt.after.Seconds(), r.After.Seconds(), max(1, tt.after.Seconds()/8))
			assert.GreaterOrEqual(t, r.Survived, tt.least)
			if tt.verdict == pathidle.Found {
				assertFound(t, r, tt.forgets, time.Second)
			} else {
				assert.Zero(t, r.Lost)
			}
			c, err := r.Plan(keepalive.Target{})
			require.NoError(t, err)
			assert.Less(t, c.Idle+c.Interval, r.Survived)
		})
	}
}

// The path remembers, but the server can't be reached.
func TestMeasureErrors(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		r, err := measure(t.Context(), t, lab, "tcp4", lab.Server.Address("tcp4", 1), pathidle.Options{})
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.Zero(t, r)
	})
	t.Run("closed at once", func(t *testing.T) {
		t.Parallel()
		address := serve(t, lab.Server, plain(), "tcp4", func(net.Conn) {})
		r, err := measure(t.Context(), t, lab, "tcp4", address, pathidle.Options{})
		assert.EqualError(t, err, "pathidle: the server closes new connections at once")
		assert.Equal(t, pathidle.Incomplete, r.Verdict)
	})
	t.Run("stops listening", func(t *testing.T) {
		t.Parallel()
		ln := lab.Server.Listen(t, plain(), "tcp4", 0)
		var conns sync.WaitGroup
		conns.Add(8)
		go accept(t, ln, func(conn net.Conn) {
			conns.Done()
			conns.Wait()
			ln.Close()
			time.Sleep(3 * time.Second)
		})
		r, err := measure(t.Context(), t, lab, "tcp4", ln.Addr().String(), pathidle.Options{})
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.ErrorContains(t, err, "no connection is left")
		assert.Equal(t, pathidle.Incomplete, r.Verdict)
		assert.Greater(t, r.Survived, time.Second)
	})
	// One that limits the connections of a client is measured with those.
	t.Run("few connections", func(t *testing.T) {
		t.Parallel()
		var open atomic.Int32
		address := serve(t, lab.Server, plain(), "tcp4", func(conn net.Conn) {
			if open.Add(1) <= 6 {
				discard(conn)
			}
		})
		r, err := measure(t.Context(), t, lab, "tcp4", address, pathidle.Options{Max: 3 * time.Second})
		require.NoError(t, err)
		assert.Equal(t, pathidle.NothingLost, r.Verdict)
	})
}

// An outage is no reason to take connections for lost.
func TestMeasureOutage(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	for name, tt := range map[string]struct {
		fail, repair func(*testing.T, *netlab.Lab)
		lasts        time.Duration
	}{
		"short": {
			func(t *testing.T, l *netlab.Lab) { l.Block(t) },
			func(t *testing.T, l *netlab.Lab) { l.Unblock(t) }, 5 * time.Second,
		},
		"firewall restarts": {
			func(t *testing.T, l *netlab.Lab) { l.Forget(t) },
			func(*testing.T, *netlab.Lab) {}, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := netlab.NewLab(t, netlab.Rules{})
			address := serve(t, lab.Server, plain(), "tcp4", discard)
			failed := false
			r, err := measure(t.Context(), t, lab, "tcp4", address, pathidle.Options{
				Max: 8 * time.Second,
				Progress: func(p pathidle.Progress) {
					if !failed && p.Survived > 3*time.Second {
						failed = true
						tt.fail(t, lab)
						time.AfterFunc(tt.lasts, func() { tt.repair(t, lab) })
					}
				},
			})
			require.NoError(t, err)
			// A connection that was opened just after the firewall has
			// restarted differs from the others.
			if name != "firewall restarts" || r.Verdict != pathidle.Varies {
				assert.Equal(t, pathidle.NothingLost, r.Verdict, r)
			}
		})
	}
}

func TestMeasureCanceled(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	var open atomic.Int32
	address := serve(t, lab.Server, plain(), "tcp4", func(conn net.Conn) {
		open.Add(1)
		discard(conn)
		open.Add(-1)
	})
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := measure(ctx, t, lab, "tcp4", address, pathidle.Options{})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, r)
	})
	t.Run("while it asks", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := measure(ctx, t, lab, "tcp4", address, pathidle.Options{Progress: func(p pathidle.Progress) {
			if p.Survived > 2*time.Second {
				cancel()
			}
		}})
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, pathidle.Incomplete, r.Verdict)
		assert.Greater(t, r.Survived, 2*time.Second)
		assert.NotEmpty(t, r.Samples)
		assert.Equal(t, address, r.Remote)
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := measure(ctx, t, lab, "tcp4", address, pathidle.Options{})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	assert.Eventually(t, func() bool { return open.Load() == 0 }, 5*time.Second, 10*time.Millisecond, "the server is told")
}

// What a dial returns when ctx is done is left to its author. One that gets no
// answer for too long is no deadline of the caller's.
func TestMeasureDialTimeout(t *testing.T) {
	interrupted := errors.New("the proxy was interrupted")
	for name, tt := range map[string]struct {
		after time.Duration // of the caller's deadline
		want  string
		is    bool
	}{
		"the caller's": {10 * time.Second, "pathidle: context deadline exceeded", true},
		"our own":      {time.Hour, "pathidle: dial tcp 192.0.2.1:1: no answer within 30s", false},
	} {
		for _, returned := range []error{nil, interrupted} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), tt.after)
					defer cancel()
					dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
						<-ctx.Done()
						return nil, cmp.Or(returned, ctx.Err())
					}
					r, err := pathidle.Measure(ctx, "tcp", "192.0.2.1:1", &pathidle.Options{Dial: dial})
					assert.EqualError(t, err, tt.want)
					assert.Equal(t, tt.is, errors.Is(err, context.DeadlineExceeded))
					assert.Zero(t, r)
				})
			})
		}
	}
}

// The picture is complete, and what it expects comes true.
func TestProgress(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{Established: 3 * time.Second})
	address := serve(t, lab.Server, plain(), "tcp4", discard)
	o := pathidle.Options{Max: 6 * time.Second, Connections: 4}
	var pictures []pathidle.Progress
	var samples []pathidle.Sample
	o.Progress = func(p pathidle.Progress) {
		pictures = append(pictures, p)
		if p.Sample != nil {
			samples = append(samples, *p.Sample)
		}
	}
	r, err := measure(t.Context(), t, lab, "tcp4", address, o)
	require.NoError(t, err)
	first, last := pictures[0], pictures[len(pictures)-1]
	assert.LessOrEqual(t, first.Left, first.LeftMost)
	for _, c := range first.Conns {
		assert.Equal(t, pathidle.Conn{State: pathidle.StateClosed, Until: c.Until}, c)
	}
	assert.LessOrEqual(t, r.Survived, last.Survived)
	assert.Subset(t, r.Samples, samples)
	seen := make(map[pathidle.State]bool)
	for i, p := range pictures {
		for _, c := range p.Conns {
			seen[c.State] = true
			assert.LessOrEqual(t, c.Since, p.Elapsed)
			assert.True(t, c.Until == 0 || c.Until >= p.Elapsed, c)
		}
		if i > 0 {
			assert.GreaterOrEqual(t, p.Elapsed, pictures[i-1].Elapsed)
			assert.GreaterOrEqual(t, p.Survived, pictures[i-1].Survived)
		}
	}
	for _, state := range []pathidle.State{pathidle.StateClosed, pathidle.StateConnecting, pathidle.StateIdle, pathidle.StateAsked, pathidle.StateDoubtful} {
		assert.True(t, seen[state], state)
	}
}

// What is no plain TCP connection can't be measured.
func TestMeasureUnsupported(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	var mptcp net.Dialer
	mptcp.SetMultipathTCP(true)
	for name, dial := range map[string]keepalive.DialFunc{
		"MPTCP": mptcp.DialContext,
		"no socket": func(context.Context, string, string) (net.Conn, error) {
			conn, _ := net.Pipe()
			return conn, nil
		},
		// As gVisor has it: the listening socket has received nothing.
		"no counts": func(context.Context, string, string) (net.Conn, error) {
			ln, err := plain().Listen(t.Context(), "tcp4", "127.0.0.1:0")
			require.NoError(t, err)
			return listening{ln: ln.(*net.TCPListener)}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			closed := false
			closing := func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				if tcp, ok := conn.(*net.TCPConn); ok {
					conn = &counted{TCPConn: tcp, close: func() { closed = true }}
				}
				return conn, err
			}
			r, err := pathidle.Measure(t.Context(), "tcp4", ln.Addr().String(), &pathidle.Options{Dial: closing, Max: time.Second})
			assert.ErrorIs(t, err, errors.ErrUnsupported)
			assert.Zero(t, r)
			assert.Equal(t, name == "MPTCP", closed)
		})
	}
}

// listening is a listening socket that pretends to be a connection.
type listening struct {
	net.Conn
	ln *net.TCPListener
}

func (l listening) SyscallConn() (syscall.RawConn, error) { return l.ln.SyscallConn() }

func (l listening) Close() error { return l.ln.Close() }

func TestNoDescriptorLeaks(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	run := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := pathidle.Measure(ctx, "tcp4", ln.Addr().String(), nil)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	}
	run()
	before := fds(t)
	for range 5 {
		run()
	}
	assert.Equal(t, before, fds(t))
}

func fds(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}
