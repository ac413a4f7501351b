//go:build !keepalive_portable

package policy

import (
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pair returns the descriptor of a connection whose peer is on loopback.
func pair(t *testing.T) (fd uintptr) {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	dialed, err := net.Dial("tcp4", ln.Addr().String())
	require.NoError(t, err)
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() {
		dialed.Close()
		accepted.Close()
	})
	require.NoError(t, sockopt.Control(dialed.(*net.TCPConn), func(f uintptr) error {
		fd = f
		return nil
	}))
	return fd
}

// infoOf is the TCP_INFO of a connection that was silent for some time.
func infoOf(silent time.Duration, info unix.TCPInfo) *unix.TCPInfo {
	if info.State == 0 {
		info.State = unix.BPF_TCP_ESTABLISHED
	}
	info.Last_data_recv = uint32((silent + time.Minute).Milliseconds())
	info.Last_ack_recv = uint32(silent.Milliseconds())
	return &info
}

func TestStatusOf(t *testing.T) {
	info := infoOf(3*time.Second, unix.TCPInfo{Probes: 1, Retransmits: 2, Unacked: 4, Rtt: 5})
	assert.Equal(t, Status{
		Open: true, Probes: 1, Retransmits: 2, Unacked: 4,
		SinceReceived: 63 * time.Second, SinceAck: 3 * time.Second, RTT: 5 * time.Microsecond,
	}, StatusOf(info))

	info.State = unix.BPF_TCP_SYN_SENT
	assert.Equal(t, Status{Open: true, Retransmits: 2, Unacked: 4}, StatusOf(info))
	for _, state := range []uint8{0, unix.BPF_TCP_CLOSE} {
		info.State = state
		assert.Zero(t, StatusOf(info), state)
	}
}

// What was heard within the last second has answered a keepalive probe, and a
// zero-window probe within two.
func TestUnansweredProbes(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		silent  time.Duration
		backoff uint8
		want    int
	}{
		{0, 0, 0},
		{s - time.Millisecond, 0, 0},
		{s, 0, 3},
		{s, 1, 0},
		{2*s - time.Millisecond, 1, 0},
		{2 * s, 1, 3},
		{time.Hour, 0, 3},
	} {
		info := infoOf(tt.silent, unix.TCPInfo{Probes: 3, Backoff: tt.backoff})
		assert.Equal(t, tt.want, StatusOf(info).Probes, "%+v", tt)
	}
}

// A connection that the kernel has given up is closed, with something unanswered.
func TestGaveUp(t *testing.T) {
	for _, tt := range []struct {
		info unix.TCPInfo
		want bool
	}{
		{unix.TCPInfo{State: unix.BPF_TCP_CLOSE}, false},
		{unix.TCPInfo{State: unix.BPF_TCP_CLOSE, Probes: 1}, true},
		{unix.TCPInfo{State: unix.BPF_TCP_CLOSE, Retransmits: 1}, true},
		{unix.TCPInfo{State: unix.BPF_TCP_ESTABLISHED, Probes: 1, Retransmits: 1}, false},
	} {
		assert.Equal(t, tt.want, gaveUp(&tt.info), "%+v", tt.info)
	}
	assert.False(t, GaveUp(pair(t)))
}

// A socket that tells nothing may have been established.
func TestWasEstablished(t *testing.T) {
	assert.True(t, WasEstablished(pair(t)))
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(udp)
	assert.True(t, WasEstablished(uintptr(udp)))
	require.NoError(t, withNewSocket(func(fd uintptr) error {
		if err := sockopt.TCPInfo(fd, new(unix.TCPInfo)); err != nil {
			t.Skipf("qemu-user: %v", err)
		}
		assert.False(t, WasEstablished(fd))
		return nil
	}))
}

// Data is in flight, or waits for a window, or there is none.
func TestFlightOf(t *testing.T) {
	const s = time.Second
	idle := unix.TCPInfo{Retransmits: 2, Probes: 3, Rtt: 1000, Rttvar: 500}
	sent, waiting := idle, idle
	sent.Unacked, sent.Notsent_bytes = 1, 1
	waiting.Notsent_bytes, waiting.Backoff = 1, 1
	for _, tt := range []struct {
		info unix.TCPInfo
		want Flight
	}{
		{idle, Flight{}},
		{sent, Flight{Outstanding: true, Unanswered: 2}},
		{waiting, Flight{Outstanding: true, Probing: true, Unanswered: 3}},
	} {
		tt.want.SinceHeard, tt.want.Timeout = 5*s, 203*time.Millisecond // as RFC 6298 has it
		assert.Equal(t, tt.want, flightOf(infoOf(5*s, tt.info)))
	}
	for state, want := range map[uint8]Flight{
		unix.BPF_TCP_CLOSE:    {},
		unix.BPF_TCP_SYN_SENT: {Outstanding: true}, // with TCP Fast Open
	} {
		sent.State = state
		assert.Equal(t, want, flightOf(infoOf(5*s, sent)), state)
	}
	assert.Zero(t, ReadFlight(closed))
}
