// Package peers compares keepalive with others of its kind, for the same
// options: mikioh/tcp with tcpopt and tcpinfo, and etcd's keepalive listener.
package peers

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/mikioh/tcp"
	"github.com/mikioh/tcpinfo"
	"github.com/mikioh/tcpopt"
	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/benchpair"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"golang.org/x/sys/unix"
)

var config = keepalive.Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}

// options is c for mikioh/tcp. tcpopt has all but the last.
func options(c keepalive.Config) []tcpopt.Option {
	return []tcpopt.Option{
		tcpopt.KeepAliveProbeCount(c.Count),
		tcpopt.KeepAliveProbeInterval(c.Interval),
		tcpopt.KeepAliveIdleInterval(c.Idle),
		tcpopt.KeepAlive(!c.Disable),
		userTimeout(c.UserTimeout),
	}
}

// userTimeout is an option as those of tcpopt are.
type userTimeout time.Duration

func (userTimeout) Level() int { return unix.IPPROTO_TCP }
func (userTimeout) Name() int  { return unix.TCP_USER_TIMEOUT }
func (t userTimeout) Marshal() ([]byte, error) {
	return binary.NativeEndian.AppendUint32(nil, uint32(time.Duration(t).Milliseconds())), nil
}

// Every call has another Idle than the one before.
func BenchmarkApply(b *testing.B) {
	benchmarkApply(b, 3*time.Minute-config.Idle)
}

func BenchmarkApplySame(b *testing.B) {
	benchmarkApply(b, config.Idle)
}

// "mikioh" sets what Apply sets, "mikioh-4" what tcpopt knows.
func benchmarkApply(b *testing.B, next time.Duration) {
	both := []keepalive.Config{config, config}
	both[1].Idle = next
	ours, nets := open(b), open(b)
	benchpair.Benchmark(b,
		alternate("keepalive", func(i int) { benchpair.NoError(b, both[i].Apply(ours)) }),
		mikioh(b, "mikioh", options(both[0]), options(both[1])),
		mikioh(b, "mikioh-4", options(both[0])[:4], options(both[1])[:4]),
		alternate("net", func(i int) {
			benchpair.NoError(b, nets.SetKeepAliveConfig(net.KeepAliveConfig{
				Enable: true, Idle: both[i].Idle, Interval: config.Interval, Count: config.Count,
			}))
		}),
	)
}

func mikioh(b *testing.B, name string, both ...[]tcpopt.Option) benchpair.Contender {
	inner := open(b)
	return alternate(name, func(i int) {
		conn, err := tcp.NewConn(inner)
		benchpair.NoError(b, err)
		for _, o := range both[i] {
			benchpair.NoError(b, conn.SetOption(o))
		}
	})
}

// alternate does 0 and 1 in turn.
func alternate(name string, do func(i int)) benchpair.Contender {
	i := 0
	return benchpair.Contender{Name: name, Do: func() {
		i = 1 - i
		do(i)
	}}
}

// "mikioh" reads four options, as tcpopt can't parse the fifth.
func BenchmarkGet(b *testing.B) {
	ours, theirs := open(b), open(b)
	buf := make([]byte, 4)
	four := options(config)[:4]
	benchpair.Benchmark(b,
		benchpair.Contender{Name: "keepalive", Do: func() {
			_, err := keepalive.Get(ours)
			benchpair.NoError(b, err)
		}},
		benchpair.Contender{Name: "mikioh", Do: func() {
			conn, err := tcp.NewConn(theirs)
			benchpair.NoError(b, err)
			for _, o := range four {
				_, err := conn.Option(o.Level(), o.Name(), buf)
				benchpair.NoError(b, err)
			}
		}},
	)
}

func BenchmarkStat(b *testing.B) {
	ours, theirs := open(b), open(b)
	var info tcpinfo.Info
	buf := make([]byte, 256)
	benchpair.Benchmark(b,
		benchpair.Contender{Name: "keepalive", Do: func() {
			_, err := keepalive.Stat(ours)
			benchpair.NoError(b, err)
		}},
		benchpair.Contender{Name: "mikioh", Do: func() {
			conn, err := tcp.NewConn(theirs)
			benchpair.NoError(b, err)
			_, err = conn.Option(info.Level(), info.Name(), buf)
			benchpair.NoError(b, err)
		}},
	)
}

// etcd's listener sets SO_KEEPALIVE and a TCP_KEEPIDLE of 30 s, and leaves the
// rest as net has it.
func BenchmarkWrappedAccept(b *testing.B) {
	ours, err := keepalive.NewListener(listen(b), config)
	require.NoError(b, err)
	etcd, err := transport.NewKeepAliveListener(listen(b), "http", nil)
	require.NoError(b, err)
	benchpair.Benchmark(b, benchpair.Accept(b, "keepalive", ours), benchpair.Accept(b, "etcd", etcd))
}

func listen(t testing.TB) net.Listener {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

func open(t testing.TB) *net.TCPConn {
	conn, err := net.Dial("tcp4", listen(t).Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// What is compared has the same effect.
func TestPeersSetTheSame(t *testing.T) {
	want := config
	want.UserTimeout = 75 * time.Second
	inner := open(t)
	conn, err := tcp.NewConn(inner)
	require.NoError(t, err)
	for _, o := range options(want) {
		require.NoError(t, conn.SetOption(o))
	}
	got, err := keepalive.Get(inner)
	require.NoError(t, err)
	assert.Equal(t, want, got)
}
