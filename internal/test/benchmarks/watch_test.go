package benchmarks

import (
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/benchpair"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// A Write and a Read at each end. Both ends are watched, or neither is.
func BenchmarkWatch(b *testing.B) {
	exchange := func(name string, watch func(net.Conn) net.Conn) benchpair.Contender {
		dialed, accepted := tcptest.Pair(b, new(net.Dialer), tcptest.PlainListen(b, "tcp4"))
		conn, peer := watch(dialed), watch(accepted)
		b.Cleanup(func() { runtime.KeepAlive([]net.Conn{conn, peer}) })
		buffer := make([]byte, 1)
		return benchpair.Contender{Name: name, Do: func() {
			for _, end := range [...][2]net.Conn{{conn, peer}, {peer, conn}} {
				benchpair.NoError(b, tcptest.Err(end[0].Write(buffer)))
				benchpair.NoError(b, tcptest.Err(end[1].Read(buffer)))
			}
		}}
	}
	benchpair.Benchmark(b,
		exchange("watched", func(conn net.Conn) net.Conn { return keepalive.Watch(conn, nil) }),
		exchange("bare", func(conn net.Conn) net.Conn { return conn }),
	)
}

// What one more watched connection costs, beside as many as b.N: the time of Watch
// and Close, and the memory of this process.
func BenchmarkWatched(b *testing.B) {
	ln := tcptest.PlainListen(b, "tcp4")
	conns := make([]net.Conn, 0, b.N+1)
	for len(conns) < b.N {
		dialed, err := net.Dial("tcp4", ln.Addr().String())
		if err != nil {
			b.Skip(err) // out of descriptors
		}
		accepted, err := ln.Accept()
		benchpair.NoError(b, err)
		conns = append(conns, dialed, accepted)
		defer dialed.Close()
		defer accepted.Close()
	}
	conns = conns[:b.N]
	watched := make([]net.Conn, len(conns))
	before := heap()
	start := time.Now()
	for i, conn := range conns {
		watched[i] = keepalive.Watch(conn, nil)
	}
	watching := time.Since(start)
	memory := float64(heap()) - float64(before)
	start = time.Now()
	for _, conn := range watched {
		conn.Close()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(watching.Nanoseconds())/float64(b.N), "ns/Watch")
	b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N), "ns/Close")
	b.ReportMetric(memory/float64(b.N), "B/conn")
}

func heap() uint64 {
	var m runtime.MemStats
	for range 3 { // cleanups, and then what they kept
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
