//go:build !keepalive_portable

package status

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The error of a connection that the kernel gives up is the last of those that
// ICMP has reported: icmp_err_convert in net/ipv4/icmp.c, and tcp_v4_err. Until
// then the connection goes on.
func TestPeerLostWithEachICMPError(t *testing.T) {
	t.Parallel()
	const unreachable, timeExceeded, parameterProblem = 3, 11, 12
	lab := netlab.NewLab(t, netlab.Rules{})
	for _, tt := range []struct {
		name string
		icmp [2]byte // type and code
		want syscall.Errno
	}{
		{"network", [2]byte{unreachable, 0}, syscall.ENETUNREACH},
		{"host", [2]byte{unreachable, 1}, syscall.EHOSTUNREACH},
		{"protocol", [2]byte{unreachable, 2}, syscall.ENOPROTOOPT},
		{"port", [2]byte{unreachable, 3}, syscall.ECONNREFUSED},
		{"source route", [2]byte{unreachable, 5}, syscall.EOPNOTSUPP},
		{"host unknown", [2]byte{unreachable, 7}, syscall.EHOSTDOWN},
		{"host isolated", [2]byte{unreachable, 8}, syscall.ENONET},
		{"network prohibited", [2]byte{unreachable, 9}, syscall.ENETUNREACH},
		{"filtered", [2]byte{unreachable, 13}, syscall.EHOSTUNREACH},
		{"time exceeded", [2]byte{timeExceeded, 0}, syscall.EHOSTUNREACH},
		{"parameter problem", [2]byte{parameterProblem, 0}, syscall.EPROTO},
	} {
		for call, end := range map[string]func(net.Conn) error{"Read": tcptest.Read, "Write": tcptest.Write} {
			t.Run(tt.name+" "+call, func(t *testing.T) {
				t.Parallel()
				d := &keepalive.Dialer{Config: keepalive.Config{UserTimeout: time.Second}}
				ln := lab.Server.Listen(t, new(keepalive.ListenConfig), "tcp4", 0)
				conn, peer := tcptest.Pair(t, tcptest.DialFunc(lab.Client.Within(d.DialContext)), ln)
				tcptest.Silence(t, conn, peer)
				answerByICMP(t, lab.Server, ln.Addr().(*net.TCPAddr).Port, tt.icmp)
				require.NoError(t, tcptest.Write(conn))
				awaitStatus(t, conn, "a retransmission", func(s keepalive.Status) bool { return s.Retransmits > 0 })
				awaitStatus(t, conn, "ended", isClosed)
				err := end(conn)
				assert.ErrorIs(t, err, tt.want)
				assert.True(t, keepalive.IsPeerLost(err), "%v", err)
				assert.Equal(t, io.EOF, tcptest.Read(conn))
			})
		}
	}
}

// answerByICMP has a host answer each TCP segment to the port with an ICMP error
// as well, which quotes the headers as RFC 792 has it.
func answerByICMP(t *testing.T, host *netlab.Host, port int, icmp [2]byte) {
	t.Helper()
	const ipHeader, quoted = 20, 20 + 8
	var segments, answers *os.File
	host.Do(func() { segments, answers = rawSocket(t, unix.IPPROTO_TCP), rawSocket(t, unix.IPPROTO_ICMP) })
	rc, err := answers.SyscallConn()
	require.NoError(t, err)
	go func() {
		packet := make([]byte, 2000)
		for {
			if _, err := segments.Read(packet); err != nil {
				return // closed
			}
			if int(binary.BigEndian.Uint16(packet[ipHeader+2:])) != port {
				continue
			}
			answer := append([]byte{icmp[0], icmp[1], 0, 0, 0, 0, 0, 0}, packet[:quoted]...)
			binary.BigEndian.PutUint16(answer[2:], checksum(answer))
			to := &unix.SockaddrInet4{Addr: [4]byte(packet[12:])}
			rc.Write(func(fd uintptr) bool { return unix.Sendto(int(fd), answer, 0, to) != unix.EAGAIN })
		}
	}()
}

// rawSocket opens a socket of raw(7).
func rawSocket(t *testing.T, protocol int) *os.File {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		netlab.Skip(t, os.NewSyscallError("socket", err))
	}
	file := os.NewFile(uintptr(fd), "raw")
	t.Cleanup(func() { file.Close() })
	return file
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
