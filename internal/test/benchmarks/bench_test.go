// Package benchmarks compares this package with net doing the same.
package benchmarks

import (
	"context"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/benchpair"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// The same settings for this package and for net. docs/benchmarks.md says what
// comes out.
var (
	benchConfig    = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	benchNetConfig = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
)

func BenchmarkAccept(b *testing.B) {
	benchpair.Benchmark(b,
		benchpair.Accept(b, "keepalive", tcptest.Listen(b, &keepalive.ListenConfig{Config: benchConfig}, "tcp4")),
		benchpair.Accept(b, "net", netListen(b, net.ListenConfig{KeepAliveConfig: benchNetConfig})),
		benchpair.Accept(b, "floor", netListen(b, net.ListenConfig{KeepAlive: -1})),
	)
}

// The listener inside has net's 15 s.
func BenchmarkWrappedAccept(b *testing.B) {
	benchmarkWrappedAccept(b, net.ListenConfig{})
}

// The listener inside has the same settings.
func BenchmarkWrappedAcceptSame(b *testing.B) {
	benchmarkWrappedAccept(b, net.ListenConfig{KeepAliveConfig: benchNetConfig})
}

func benchmarkWrappedAccept(b *testing.B, inner net.ListenConfig) {
	wrapped, err := keepalive.NewListener(netListen(b, inner), benchConfig)
	benchpair.NoError(b, err)
	benchpair.Benchmark(b, benchpair.Accept(b, "keepalive", wrapped), benchpair.Accept(b, "net", netListen(b, inner)))
}

// "hook" is a net.Dialer without keepalive that runs a Control which does
// nothing.
func BenchmarkDial(b *testing.B) {
	dial := func(name string, d benchpair.Dialer) benchpair.Contender {
		return benchpair.Dial(b, name, d, netListen(b, net.ListenConfig{}))
	}
	benchpair.Benchmark(b,
		dial("keepalive", &keepalive.Dialer{Config: benchConfig}),
		dial("net", &net.Dialer{KeepAliveConfig: benchNetConfig}),
		dial("floor", &net.Dialer{KeepAlive: -1}),
		dial("hook", &net.Dialer{KeepAlive: -1, ControlContext: nothing}),
	)
}

// Every call has another Idle than the one before.
func BenchmarkApply(b *testing.B) {
	benchmarkApply(b, 3*time.Minute-benchConfig.Idle)
}

func BenchmarkApplySame(b *testing.B) {
	benchmarkApply(b, benchConfig.Idle)
}

func benchmarkApply(b *testing.B, next time.Duration) {
	ours, nets := benchConn(b), benchConn(b)
	c, nc := benchConfig, benchNetConfig
	sum := c.Idle + next
	benchpair.Benchmark(b,
		benchpair.Contender{Name: "keepalive", Do: func() {
			c.Idle = sum - c.Idle
			benchpair.NoError(b, c.Apply(ours))
		}},
		benchpair.Contender{Name: "net", Do: func() {
			nc.Idle = sum - nc.Idle
			benchpair.NoError(b, nets.SetKeepAliveConfig(nc))
		}},
	)
}

func benchConn(b *testing.B) *net.TCPConn {
	conn, _ := tcptest.Pair(b, new(net.Dialer), tcptest.PlainListen(b, "tcp4"))
	return conn.(*net.TCPConn)
}

func netListen(b *testing.B, lc net.ListenConfig) net.Listener {
	lc.SetMultipathTCP(false)
	return tcptest.Listen(b, &lc, "tcp4")
}

// nothing is a hook that sets nothing.
func nothing(context.Context, string, string, syscall.RawConn) error { return nil }
