//go:build !keepalive_portable

package detection

import (
	"fmt"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Data in flight to a dead peer goes unnoticed for UnackedTime, and for up to
// one step of the backoff longer.
func TestUnackedTimeIsTheKernels(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	const s, ms = time.Second, time.Millisecond
	for _, tt := range []struct {
		retries, maxRTO int // sysctls, 0 for the default
		config          keepalive.Config
		want            time.Duration
	}{
		{0, 0, keepalive.Config{MaxRTO: s}, 14400 * ms},
		{0, 0, keepalive.Config{MaxRTO: 1500 * ms}, 20900 * ms},
		{0, 1000, keepalive.Config{}, 14400 * ms},
		{3, 0, keepalive.Config{}, 3 * s},
		{1, 0, keepalive.Config{}, 600 * ms},
		{4, 0, keepalive.Config{}, 6200 * ms},
		{8, 0, keepalive.Config{MaxRTO: s}, 7400 * ms},
		{8, 2000, keepalive.Config{MaxRTO: s}, 7400 * ms},
		{8, 1000, keepalive.Config{MaxRTO: 2 * s}, 13 * s},
		{5, 2000, keepalive.Config{}, 7 * s},
		{0, 0, keepalive.Config{UserTimeout: 3 * s}, 3 * s},
		{3, 0, keepalive.Config{UserTimeout: 5 * s}, 5 * s},
		{0, 0, keepalive.Config{UserTimeout: 4 * s, MaxRTO: s}, 4 * s},
	} {
		t.Run(fmt.Sprintf("%v, tcp_retries2 %d, tcp_rto_max_ms %d", tt.config, tt.retries, tt.maxRTO), func(t *testing.T) {
			t.Parallel()
			if tt.maxRTO != 0 || tt.config.MaxRTO != 0 {
				tcptest.NeedMaxRTO(t)
			}
			netlab.NewNamespace(t)
			step := tt.config.MaxRTO
			if tt.retries != 0 {
				netlab.Sysctl(t, "tcp_retries2", strconv.Itoa(tt.retries))
			}
			if tt.maxRTO != 0 {
				netlab.Sysctl(t, "tcp_rto_max_ms", strconv.Itoa(tt.maxRTO))
				if step == 0 {
					step = time.Duration(tt.maxRTO) * ms
				}
			}
			d, ok := tt.config.UnackedTime()
			require.True(t, ok)
			require.Equal(t, tt.want, d)

			conn, peer := tcptest.Pair(t, &keepalive.Dialer{Config: tt.config}, tcptest.PlainListen(t, "tcp4"))
			tcptest.AwaitAcked(t, conn, peer)
			netlab.MustSilence(t, peer.(*net.TCPConn))
			since := time.Now()
			require.NoError(t, tcptest.Write(conn))
			const first = 200 * ms // retransmission
			switch {
			case tt.config.UserTimeout != 0:
				step = 0
			case step == 0 || step > d+2*first:
				step = d + 2*first // the next distance is as long as all before it
			}
			most := first + (d+step)*9/8 + 500*ms
			conn.SetReadDeadline(since.Add(most + 5*s))
			err := tcptest.Read(conn)
			tcptest.AssertWithin(t, since, d, most)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}

// A live peer that stops reading is given up by UserTimeout, and spared by
// MaxRTO.
func TestSlowReaderIsSpared(t *testing.T) {
	t.Parallel()
	tcptest.NeedMaxRTO(t)
	for _, slow := range []bool{false, true} {
		t.Run(fmt.Sprint("SlowReads ", slow), func(t *testing.T) {
			t.Parallel()
			c, err := keepalive.Plan(keepalive.Target{Detect: 18 * time.Second, Unacked: true, SlowReads: slow})
			require.NoError(t, err)
			conn, _ := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, "tcp4"))
			since := time.Now()
			conn.SetWriteDeadline(since.Add(25 * time.Second))
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<16))
			}
			if slow {
				tcptest.AssertOpenUntil(t, conn, time.Now().Add(time.Millisecond))
				return
			}
			tcptest.AssertWithin(t, since, 0, 20*time.Second)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}

// What Plan promises of data in flight is kept.
func TestPlanWithSlowReadsIsInTime(t *testing.T) {
	t.Parallel()
	tcptest.NeedMaxRTO(t)
	c, err := keepalive.Plan(keepalive.Target{Detect: 17325 * time.Millisecond, Unacked: true, SlowReads: true})
	require.NoError(t, err)
	assert.Equal(t, keepalive.Config{Idle: 9 * time.Second, Interval: 2 * time.Second, Count: 3, MaxRTO: time.Second}, c)
	for name, act := range map[string]func(net.Conn) error{"idle": func(net.Conn) error { return nil }, "in flight": tcptest.Write} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, peer := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, "tcp4"))
			tcptest.AwaitAcked(t, conn, peer)
			netlab.MustSilence(t, peer.(*net.TCPConn))
			since := time.Now()
			require.NoError(t, act(conn))
			conn.SetReadDeadline(since.Add(30 * time.Second))
			err := tcptest.Read(conn)
			tcptest.AssertWithin(t, since, 0, 17325*time.Millisecond+200*time.Millisecond)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}

// A peer that retracts its window while data is in flight, and falls silent, is
// given up at the first retransmission after 2 × MaxRTO.
func TestRetractedWindow(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	tcptest.NeedMaxRTO(t)
	tcptest.NeedTCPInfo(t) // under qemu-user a silent peer goes on sending
	for _, c := range []keepalive.Config{{MaxRTO: time.Second}, {MaxRTO: time.Second, UserTimeout: 10 * time.Second}} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			netlab.Sysctl(t, "tcp_shrink_window", "1")
			conn, peer := tcptest.Pair(t, &keepalive.Dialer{Config: c}, tcptest.PlainListen(t, "tcp4"))
			_, err := conn.Write(make([]byte, 3000)) // more than the buffer will hold
			require.NoError(t, err)
			tcptest.AwaitAcked(t, conn)
			dropAll(t, peer)
			require.NoError(t, tcptest.Write(conn))
			require.NoError(t, peer.(*net.TCPConn).SetReadBuffer(1))
			since := time.Now()
			require.NoError(t, tcptest.Write(peer)) // announces no window
			require.NoError(t, tcptest.Read(conn))
			netlab.MustSilence(t, peer.(*net.TCPConn))

			d, ok := c.UnackedTime()
			require.True(t, ok)
			least := 2 * c.MaxRTO
			most := least + c.MaxRTO*9/8 + 500*time.Millisecond
			require.Less(t, most, d)
			err = tcptest.Read(conn)
			tcptest.AssertWithin(t, since, least, most)
			assert.ErrorIs(t, err, syscall.ETIMEDOUT)
		})
	}
}
