// Package cost counts what a policy costs, exactly: system calls, allocations and
// packets.
package cost

import (
	"encoding/binary"
	"net"
	"testing"
	"time"
	"unsafe"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// An idle connection costs two packets every Idle for each end that has
// keepalive on: the probe and its answer, which are no bigger than a header.
// An end that answers probes sends its own all the same.
func TestProbesOnTheWire(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	for _, tt := range []struct {
		name, network string
		size          int
		accepted      keepalive.Config
	}{
		{"IPv4", "tcp4", tcptest.ProbeSizeIPv4, keepalive.Config{Disable: true}},
		{"IPv6", "tcp6", tcptest.ProbeSizeIPv6, keepalive.Config{Disable: true}},
		{"IPv4, both ends", "tcp4", tcptest.ProbeSizeIPv4, tcptest.Quick},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			netlab.NewNamespace(t)
			dialed, accepted := tcptest.Pair(t, &keepalive.Dialer{Config: tcptest.Quick}, tcptest.Listen(t, &keepalive.ListenConfig{Config: tt.accepted}, tt.network))
			tcptest.AwaitAcked(t, dialed, accepted)
			wire := sniff(t)
			var packets []packet
			for range 8 {
				packets = append(packets, wire.next(t))
			}
			took := packets[7].at.Sub(packets[0].at)

			expects := map[uint16]uint32{} // what an end has acknowledged
			for _, p := range packets {
				assert.Equal(t, tt.size, p.size)
				expects[p.from] = p.ack
			}
			probes, answers := map[uint16]int{}, map[uint16]int{}
			for _, p := range packets {
				switch p.seq - expects[p.to] {
				case 0:
					answers[p.from]++
				default:
					assert.Equal(t, expects[p.to]-1, p.seq, "RFC 9293, section 3.8.4: SEG.SEQ = SND.NXT-1")
					probes[p.from]++
				}
			}
			prober := packets[0].from
			if tt.accepted.Disable {
				assert.Equal(t, map[uint16]int{prober: 4}, probes)
				assert.Equal(t, map[uint16]int{packets[0].to: 4}, answers)
				assert.GreaterOrEqual(t, took, 3*time.Second-tcptest.Jiffy)
			} else {
				both := map[uint16]int{prober: 2, packets[0].to: 2}
				assert.Equal(t, both, probes)
				assert.Equal(t, both, answers)
				assert.Less(t, took, 2*time.Second)
			}
		})
	}
}

// tcp_sock_set_keepidle_locked re-arms the timer from the last receive: with
// probes out that is overdue. The first connection shows the probe that an equal
// KEEPIDLE costs, the second that Apply does not cost it.
func TestApplyWhileProbing(t *testing.T) {
	t.Parallel()
	c := keepalive.Config{Idle: time.Second, Interval: 10 * time.Second, Count: 9}
	off := c
	off.Disable = true
	ln := tcptest.PlainListen(t, "tcp4")
	written, peer1 := tcptest.Pair(t, &keepalive.Dialer{Config: off}, ln)
	applied, peer2 := tcptest.Pair(t, &keepalive.Dialer{Config: off}, ln)
	netlab.MustSilence(t, peer1.(*net.TCPConn))
	netlab.MustSilence(t, peer2.(*net.TCPConn))
	// A probe that is answered would be followed by one only after 10 s.
	require.NoError(t, c.Apply(written))
	require.NoError(t, c.Apply(applied))
	awaitProbes := func(conn net.Conn, n uint8) {
		t.Helper()
		tcptest.Await(t, "a probe", func() bool { return tcptest.TCPInfo(t, conn).Probes == n })
	}
	awaitProbes(written, 1)
	awaitProbes(applied, 1)

	require.NoError(t, c.Apply(applied))
	if tcptest.Portable { // net writes what it is told
		awaitProbes(applied, 2)
		return
	}
	require.NoError(t, tcptest.Options(t, applied).Apply(applied))
	tcptest.SetsockoptInt(t, written, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1)
	awaitProbes(written, 2)
	assert.EqualValues(t, 1, tcptest.TCPInfo(t, applied).Probes)
}

// packet is a TCP segment that carries no data.
type packet struct {
	from, to uint16
	seq, ack uint32
	size     int       // from the IP header on
	at       time.Time // by the kernel: this process may read it late
}

// sniffer is a packet(7) socket.
type sniffer int

// sniff listens to what happens in the network namespace of the thread.
func sniff(t *testing.T) sniffer {
	t.Helper()
	all := int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	return sniffer(fd)
}

// next returns the next segment that arrives somewhere.
func (s sniffer) next(t *testing.T) packet {
	t.Helper()
	b, oob := make([]byte, 1500), make([]byte, 100)
	for {
		n, oobn, _, from, err := unix.Recvmsg(int(s), b, oob, 0)
		if err == unix.EINTR { // not restarted where there is a timeout: signal(7)
			continue
		}
		require.NoError(t, err)
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_HOST { // what is sent on loopback arrives as well
			continue
		}
		ip, tcp, protocol := b[:n], 20, 9
		if ip[0]>>4 == 6 {
			tcp, protocol = 40, 6
		}
		if ip[protocol] != unix.IPPROTO_TCP {
			continue
		}
		return packet{
			from: binary.BigEndian.Uint16(ip[tcp:]),
			to:   binary.BigEndian.Uint16(ip[tcp+2:]),
			seq:  binary.BigEndian.Uint32(ip[tcp+4:]),
			ack:  binary.BigEndian.Uint32(ip[tcp+8:]),
			size: n,
			at:   timestamp(t, oob[:oobn]),
		}
	}
}

// timestamp returns what SO_TIMESTAMPNS of socket(7) adds to a packet.
func timestamp(t *testing.T, oob []byte) time.Time {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	require.NoError(t, err)
	require.Len(t, messages, 1)
	return time.Unix((*unix.Timespec)(unsafe.Pointer(&messages[0].Data[0])).Unix())
}
