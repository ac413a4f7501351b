//go:build !keepalive_portable

package pathidle_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These measurements take seconds, since little is measured.

// report keeps the pictures and samples that Progress has got, and when it got the
// samples.
type report struct {
	pictures []pathidle.Progress
	samples  []pathidle.Sample
	times    []time.Time
}

func (r *report) add(p pathidle.Progress) {
	r.pictures = append(r.pictures, p)
	if p.Sample != nil {
		r.samples = append(r.samples, *p.Sample)
		r.times = append(r.times, time.Now())
	}
}

func (r *report) has(state pathidle.State) bool {
	for _, p := range r.pictures {
		for _, c := range p.Conns {
			if c.State == state {
				return true
			}
		}
	}
	return false
}

// Progress gets each question when it is answered. The server sees the end of each
// connection, whatever it has sent before.
func TestMeasureNothingLost(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	for name, banner := range map[string]string{"silent": "", "banner": strings.Repeat("220 ready\r\n", 1000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ends := make(chan error, 3)
			address := serve(t, lab.Server, plain(), "tcp4", func(conn net.Conn) {
				io.WriteString(conn, banner)
				_, err := conn.Read(make([]byte, 1))
				ends <- err
			})
			var told report
			r, err := measure(t.Context(), t, lab, "tcp4", address, pathidle.Options{Max: 2 * time.Second, Connections: 3, Progress: told.add})
			require.NoError(t, err)
			assert.Equal(t, pathidle.NothingLost, r.Verdict)
			assert.Equal(t, address, r.Remote)
			longest := slices.IndexFunc(told.samples, func(s pathidle.Sample) bool { return s.Idle == r.Survived })
			require.GreaterOrEqual(t, longest, 0)
			answered := told.times[longest]
			tcptest.AssertBetween(t, answered.Add(-r.Survived), answered, 2*time.Second, 2500*time.Millisecond)
			farewells := 0
			for range 3 {
				var err error
				select {
				case err = <-ends:
				case <-time.After(time.Minute):
					t.Fatal("a connection of the server does not end")
				}
				if err == io.EOF {
					farewells++
				} else { // one that has idled for longer than survives
					assert.ErrorIs(t, err, syscall.ECONNRESET)
				}
			}
			assert.Positive(t, farewells)
			assert.Equal(t, r.Samples, told.samples)
			answers, quickest := 0, time.Hour
			for _, s := range r.Samples {
				if s.Outcome == pathidle.Heard && banner != "" {
					continue
				}
				answers++
				assert.Equal(t, pathidle.Answered, s.Outcome)
				assert.GreaterOrEqual(t, s.Idle, time.Second)
				if s.Probes == 1 {
					quickest = min(quickest, s.RTT)
				} else { // a packet waited for a kernel that was busy
					assert.Greater(t, s.Probes, 1)
					assert.Zero(t, s.RTT)
				}
			}
			assert.Less(t, quickest, 200*time.Millisecond)
			assert.GreaterOrEqual(t, answers, 4, "one of each connection, and another one: %+v", r.Samples)
			first, last := told.pictures[0], told.pictures[len(told.pictures)-1]
			assert.Less(t, first.Elapsed, time.Second)
			assert.Greater(t, last.Elapsed, 2*time.Second)
			assert.False(t, first.Conns[0].State != pathidle.StateClosed, "the first time before anything is dialed")
			for _, state := range []pathidle.State{pathidle.StateConnecting, pathidle.StateIdle, pathidle.StateAsked} {
				assert.True(t, told.has(state), state)
			}
		})
	}
}

// What the server does by itself is told as such.
func TestMeasureServer(t *testing.T) {
	t.Parallel()
	// By then a connection has survived for longer than it has idled since. At 2.5 s the
	// question that follows a reset would be due when the next one is.
	const every = 3500 * time.Millisecond
	wait := func(conn net.Conn) {
		go discard(conn)
		time.Sleep(every)
	}
	lab := netlab.NewLab(t, netlab.Rules{})
	for name, tt := range map[string]struct {
		listen  net.KeepAliveConfig
		handle  func(net.Conn)
		verdict pathidle.Verdict
		after   time.Duration
		outcome pathidle.Outcome
	}{
		"closes": {net.KeepAliveConfig{}, wait, pathidle.ServerCloses, every, pathidle.Closed},
		"resets": {net.KeepAliveConfig{}, func(conn net.Conn) {
			wait(conn)
			conn.(*net.TCPConn).SetLinger(0)
		}, pathidle.ServerCloses, every, pathidle.Reset},
		"speaks": {net.KeepAliveConfig{}, func(conn net.Conn) {
			for {
				time.Sleep(1500 * time.Millisecond)
				if _, err := io.WriteString(conn, "tick\n"); err != nil {
					return
				}
			}
		}, pathidle.ServerSends, 1500 * time.Millisecond, pathidle.Heard},
		"probes": {net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 9}, discard, pathidle.ServerSends, 2 * time.Second, pathidle.Heard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lc := plain()
			if tt.listen.Enable {
				lc.KeepAlive, lc.KeepAliveConfig = 0, tt.listen
			}
			address := serve(t, lab.Server, lc, "tcp4", tt.handle)
			var r pathidle.Result
			for range 3 { // on a busy machine the ages at which it resets connections differ
				var err error
				r, err = measure(t.Context(), t, lab, "tcp4", address, pathidle.Options{Connections: 3})
				require.NoError(t, err)
				if r.Verdict != pathidle.Varies {
					break
				}
			}
			assert.Equal(t, tt.verdict, r.Verdict)
			assert.InDelta(t, tt.after.Seconds(), r.After.Seconds(), 0.9)
			assert.GreaterOrEqual(t, r.Survived, time.Second)
			assert.Zero(t, r.Lost)
			found := false
			for _, s := range r.Samples {
				if s.Outcome == tt.outcome {
					found = true
					assert.Less(t, s.Idle, every+time.Second/2)
				}
			}
			assert.True(t, found, "%+v", r.Samples)
		})
	}
}

// Where nothing passes but handshakes, the client sends no more than probes, without a
// byte, and one segment that ends the connection.
func TestMeasureNeverAnswers(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	const fin, syn, rst = 0x01, 0x02, 0x04
	var mu sync.Mutex
	probes, ends, payload := make(map[uint16]int), 0, 0
	lab := netlab.NewLab(t, netlab.Rules{})
	wire := netlab.NewWire(t, lab, func(p netlab.Packet) (time.Duration, bool) {
		flags := p.Bytes[33]
		if flags&syn != 0 {
			return time.Millisecond, true
		}
		mu.Lock()
		defer mu.Unlock()
		port := binary.BigEndian.Uint16(p.Bytes[20:])
		switch {
		case !p.FromClient:
		case flags&fin != 0:
			assert.Fail(t, "a farewell, which the kernel would send again and again")
		case flags&rst != 0:
			ends++
		default:
			probes[port]++
			payload += p.Payload
		}
		return time.Millisecond, p.FromClient && probes[port] == 1 // the end of the handshake
	})
	ln := wire.Listen(t, plain())
	go accept(t, ln, discard)
	var r pathidle.Result
	toldMost := 0
	for range 3 { // the wire is down while this process does not get to run
		var told report
		var err error
		r, err = measure(t.Context(), t, lab, "tcp4", ln.Addr().String(), pathidle.Options{Connections: 3, Progress: told.add})
		require.NoError(t, err)
		assert.Equal(t, pathidle.NeverAnswers, r.Verdict)
		assert.Zero(t, r.Survived)
		assert.True(t, told.has(pathidle.StateDoubtful))
		assert.Equal(t, r.Samples, told.samples)
		for _, s := range r.Samples {
			assert.Equal(t, pathidle.NoAnswer, s.Outcome)
			assert.GreaterOrEqual(t, s.Idle, time.Second)
			assert.Zero(t, s.RTT)
			toldMost = max(toldMost, s.Probes)
		}
		if r.Outages == 0 {
			break
		}
	}
	assert.Zero(t, r.Outages)
	mu.Lock()
	defer mu.Unlock()
	most := 0
	for _, n := range probes {
		most = max(most, n-1) // without the end of the handshake
	}
	assert.Equal(t, most, toldMost)
	assert.GreaterOrEqual(t, most, 9)
	assert.LessOrEqual(t, most, 13)
	assert.Zero(t, payload)
	assert.LessOrEqual(t, ends, len(probes))
}

// A connection that its owner closes ends the measurement.
func TestMeasureClosedBelow(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	address := serve(t, lab.Server, plain(), "tcp4", discard)
	var mu sync.Mutex
	var conns []net.Conn
	dial := lab.Client.Within(new(net.Dialer).DialContext)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := pathidle.Measure(ctx, "tcp4", address, &pathidle.Options{
		Connections: 2,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
			return conn, err
		},
		Progress: func(p pathidle.Progress) {
			if p.Survived >= time.Second {
				mu.Lock()
				defer mu.Unlock()
				for _, conn := range conns {
					conn.Close()
				}
			}
		},
	})
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.ErrorContains(t, err, "pathidle: ")
	assert.Equal(t, pathidle.Incomplete, r.Verdict)
	assert.GreaterOrEqual(t, r.Survived, time.Second)
}

// A connection that is opened when the measurement is over is closed.
func TestMeasureClosesLateConnections(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	address := serve(t, lab.Server, plain(), "tcp4", discard)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	d := &dialer{dial: lab.Client.Within(new(net.Dialer).DialContext)}
	_, err := pathidle.Measure(ctx, "tcp4", address, &pathidle.Options{
		Connections: 3,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if d.dialed.Load() > 0 {
				cancel()
				<-ctx.Done()
			}
			return d.DialContext(context.WithoutCancel(ctx), network, address)
		},
	})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Greater(t, d.dialed.Load(), int32(1))
	assert.Zero(t, d.open.Load())
}

// A name with several addresses is one path: the first connection alone is dialed by
// the name.
func TestMeasureAName(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	address := serve(t, lab.Server, plain(), "tcp4", discard)
	dial := lab.Client.Within(new(net.Dialer).DialContext)
	var mu sync.Mutex
	var dialed []string
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := pathidle.Measure(ctx, "tcp4", "server.test:80", &pathidle.Options{
		Max:         2 * time.Second,
		Connections: 3,
		Dial: func(ctx context.Context, network, to string) (net.Conn, error) {
			mu.Lock()
			dialed = append(dialed, to)
			mu.Unlock()
			return dial(ctx, network, strings.Replace(to, "server.test:80", address, 1))
		},
	})
	require.NoError(t, err)
	assert.Equal(t, pathidle.NothingLost, r.Verdict)
	assert.Equal(t, address, r.Remote)
	require.GreaterOrEqual(t, len(dialed), 3)
	assert.Equal(t, "server.test:80", dialed[0])
	for _, to := range dialed[1:] {
		assert.Equal(t, address, to)
	}
}
