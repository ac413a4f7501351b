//go:build !keepalive_portable

package benchmarks

import (
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/tcptest"
	"github.com/seed-7be6acb7/keepalive/internal/turns"
)

// net has no call that reads a policy. What is read here is what Apply writes.
func BenchmarkGet(b *testing.B) {
	conn := benchConn(b)
	turns.Benchmark(b,
		turns.Contender{Name: "Get", Do: func() { turns.NoError(b, tcptest.Err(keepalive.Get(conn))) }},
		turns.Contender{Name: "Apply", Do: func() { turns.NoError(b, benchConfig.Apply(conn)) }},
	)
}

// A status takes one system call, a policy five.
func BenchmarkStat(b *testing.B) {
	conn := benchConn(b)
	turns.Benchmark(b,
		turns.Contender{Name: "Stat", Do: func() { turns.NoError(b, tcptest.Err(keepalive.Stat(conn))) }},
		turns.Contender{Name: "Get", Do: func() { turns.NoError(b, tcptest.Err(keepalive.Get(conn))) }},
	)
}
