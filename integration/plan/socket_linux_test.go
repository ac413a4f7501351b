package plan_test

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// socket is one end of a connection, of which the kernel is asked by netlink.
type socket struct {
	netlink int
	request []byte
}

// condition is closed, or how many bytes are in flight.
type condition int64

const closed condition = -1

func inFlight(bytes int) condition { return condition(bytes) }

// newSocket returns the only established connection of the end's port to the other
// network, as soon as there is one.
func newSocket(t *testing.T, e end) *socket {
	t.Helper()
	var local, remote []byte // port and address in network order
	await(t, "a connection of "+e.row, func() bool {
		var found int
		for _, fields := range connections(t, e) {
			l, r := address(t, fields[1]), address(t, fields[2])
			own := string(l[2:])
			port := func(a []byte) int { return int(binary.BigEndian.Uint16(a)) }
			if string(r[2:]) != own && (port(l) == e.port || port(r) == e.port) {
				local, remote = l, r
				found++
			}
		}
		require.LessOrEqual(t, found, 1, e.row)
		return found == 1
	})
	s := &socket{netlink: -1, request: request(local, remote)}
	e.host.Do(func() {
		var err error
		s.netlink, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
		require.NoError(t, err)
	})
	t.Cleanup(func() { unix.Close(s.netlink) })
	return s
}

// connections returns the fields of the established ones in /proc/net/tcp that are
// not of the loopback device.
func connections(t *testing.T, e end) (found [][]string) {
	t.Helper()
	var text []byte
	var err error
	e.host.Do(func() { text, err = os.ReadFile("/proc/thread-self/net/tcp") })
	require.NoError(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		fields := strings.Fields(line)
		if fields[3] == "01" && !strings.HasPrefix(fields[1], "0100007F") {
			found = append(found, fields)
		}
	}
	return found
}

// address reads one of /proc/net/tcp: an IPv4 address in the order of this machine,
// which is little-endian wherever these programs run, and a port.
func address(t *testing.T, s string) []byte {
	t.Helper()
	ip, port, _ := strings.Cut(s, ":")
	host, err := hex.DecodeString(ip)
	require.NoError(t, err)
	slices.Reverse(host)
	b, err := hex.DecodeString(port)
	require.NoError(t, err)
	return append(b, host...)
}

// request is a struct inet_diag_req_v2 for one connection.
func request(local, remote []byte) []byte {
	const size, byFamily = unix.SizeofNlMsghdr + 56, 20 // SOCK_DIAG_BY_FAMILY
	r := make([]byte, size)
	binary.NativeEndian.PutUint32(r, size)
	binary.NativeEndian.PutUint16(r[4:], byFamily)
	binary.NativeEndian.PutUint16(r[6:], unix.NLM_F_REQUEST)
	body := r[unix.SizeofNlMsghdr:]
	body[0], body[1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], ^uint32(0)) // any state
	id := body[8:]
	copy(id, local[:2])
	copy(id[2:], remote[:2])
	copy(id[4:], local[2:])
	copy(id[20:], remote[2:])
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return r
}

// state returns how many bytes are in flight, or that the program or the kernel has
// closed the connection.
func (s *socket) state(t *testing.T) condition {
	t.Helper()
	require.NoError(t, unix.Sendto(s.netlink, s.request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	reply := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(s.netlink, reply, 0)
	require.NoError(t, err)
	body := reply[unix.SizeofNlMsghdr:n]
	const established = 1
	if binary.NativeEndian.Uint16(reply[4:]) == unix.NLMSG_ERROR {
		require.Equal(t, -int32(unix.ENOENT), int32(binary.NativeEndian.Uint32(body)))
		return closed
	}
	if body[1] != established {
		return closed
	}
	const wqueue = 4 + 48 + 4 + 4 // after the families, the id, the timer and the receive queue
	return condition(binary.NativeEndian.Uint32(body[wqueue:]))
}
