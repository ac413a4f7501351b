package plan_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A live peer that stops reading is spared by tcp_retries2, although data to it
// waits for longer than a silent peer would get.
func TestRetriesSpareSlowReaders(t *testing.T) {
	t.Parallel()
	lab := netlab.NewLab(t, netlab.Rules{})
	lab.Server.Sysctl(t, "net.ipv4.tcp_retries2", "2") // 3.7 s at most
	accept := listen(t, lab.Server, 7000)
	client := dial(t, lab.Client, lab.Server.IPv4, 7000)
	server := accept("")

	const size = 32 << 20
	wrote := make(chan error, 1)
	go func() {
		_, err := server.Write(make([]byte, size))
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatal("the data fits in the buffers, or is given up:", err)
	case <-time.After(12 * time.Second):
	}
	require.NoError(t, client.SetReadDeadline(time.Now().Add(time.Minute)))
	n, err := io.Copy(io.Discard, io.LimitReader(client, size))
	require.NoError(t, err)
	assert.EqualValues(t, size, n)
	assert.NoError(t, <-wrote)
}

// What plan prints beside tcp_retries2 is how long it takes to give up, on a path
// with a round trip of up to 200 ms, and on a connection that is new or not.
func TestRetriesFromADistance(t *testing.T) {
	t.Parallel()
	netlab.NeedLab(t)
	p := plans(t)[demand{12 * time.Second, true}]
	var retries string
	for _, line := range p.settings(t, "sysctl.d") {
		if value, found := strings.CutPrefix(line, "net.ipv4.tcp_retries2 = "); found {
			retries = value
		}
	}
	least, most, _ := strings.Cut(p.comment("sysctl.d", "ends a connection after "), " to ")
	parse := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		return d
	}
	for _, roundTrip := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond, 160 * time.Millisecond, 200 * time.Millisecond} {
		for _, used := range []int{0, 30} {
			t.Run(fmt.Sprintf("%v, used %d times", roundTrip, used), func(t *testing.T) {
				t.Parallel()
				took, wait := giveUp(t, retries, roundTrip, used)
				t.Logf("%v, the first retransmission after %v", took, wait)
				const spare = 300 * time.Millisecond
				assert.GreaterOrEqual(t, took, parse(least)-spare)
				assert.LessOrEqual(t, took, parse(most)+spare)
			})
		}
	}
}

// giveUp returns how long a server takes to give up a client that falls silent,
// from its first retransmission, and how long that one took.
func giveUp(t *testing.T, retries string, roundTrip time.Duration, used int) (took, wait time.Duration) {
	t.Helper()
	lab := netlab.NewLab(t, netlab.Rules{})
	lab.Server.Sysctl(t, "net.ipv4.tcp_retries2", retries)
	lab.Server.Sysctl(t, "net.ipv4.tcp_early_retrans", "0") // no probe of lost tails, which is no retransmission to the timer
	var silent atomic.Bool
	sent := make(chan time.Time, 100)
	wire := netlab.NewWire(t, lab, func(p netlab.Packet) (time.Duration, bool) {
		if silent.Load() && !p.FromClient && p.Payload > 0 { // not a late acknowledgment
			sent <- time.Now()
		}
		return roundTrip / 2, !silent.Load()
	})
	lc := &net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	ln := wire.Listen(t, lc)
	client := wire.Dial(t, (&net.Dialer{KeepAlive: -1}).DialContext, ln)
	server, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	for i := range used { // the retransmission timeout settles
		write(t, server, strconv.Itoa(i%10))
		readUntil(t, client, strconv.Itoa(i%10))
		write(t, client, "x")
		readUntil(t, server, "x")
	}
	silent.Store(true)
	write(t, server, "x")
	var first, again time.Time
	for _, at := range []*time.Time{&first, &again} {
		select {
		case *at = <-sent:
		case <-time.After(time.Minute):
			t.Fatal("the server sends nothing")
		}
	}
	require.NoError(t, server.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = server.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ETIMEDOUT)
	return time.Since(again), again.Sub(first)
}
