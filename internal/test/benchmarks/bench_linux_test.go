//go:build !keepalive_portable

package benchmarks

import (
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/benchpair"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// net has no call that reads a policy. What is read here is what Apply writes.
func BenchmarkGet(b *testing.B) {
	conn := benchConn(b)
	benchpair.Benchmark(b,
		benchpair.Contender{Name: "Get", Do: func() { benchpair.NoError(b, tcptest.Err(keepalive.Get(conn))) }},
		benchpair.Contender{Name: "Apply", Do: func() { benchpair.NoError(b, benchConfig.Apply(conn)) }},
	)
}

// A status takes one system call, a policy five.
func BenchmarkStat(b *testing.B) {
	conn := benchConn(b)
	benchpair.Benchmark(b,
		benchpair.Contender{Name: "Stat", Do: func() { benchpair.NoError(b, tcptest.Err(keepalive.Stat(conn))) }},
		benchpair.Contender{Name: "Get", Do: func() { benchpair.NoError(b, tcptest.Err(keepalive.Get(conn))) }},
	)
}
