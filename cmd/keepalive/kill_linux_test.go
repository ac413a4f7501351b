package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// kill runs the command, or skips the test where the kernel lacks it.
func kill(t testing.TB, args ...string) result {
	t.Helper()
	r := runCommand(t, append([]string{"kill"}, args...)...)
	if strings.Contains(r.stdout, "CONFIG_INET_DIAG_DESTROY") {
		netlab.Skip(t, errors.New("this kernel lacks CONFIG_INET_DIAG_DESTROY"))
	}
	return r
}

// ofThisNamespace selects the sockets of the test binary in the namespace of the
// calling thread. Other tests have the same addresses in theirs.
func ofThisNamespace(t testing.TB) []string {
	t.Helper()
	return append(ofThisProcess(), "--netns", fmt.Sprint(namespaceOf(t)))
}

// pair returns both ends of a connection of this process.
func pair(t testing.TB, network, listen, dial string) (dialed, accepted net.Conn) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	ln, err := config.Listen(t.Context(), network, listen)
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	_, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	dialed, err = net.Dial("tcp", net.JoinHostPort(dial, port))
	require.NoError(t, err)
	t.Cleanup(func() { dialed.Close() })
	accepted, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	return dialed, accepted
}

// What is killed ends at once with ECONNABORTED, which is no lost peer.
func TestKill(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	for _, address := range [][3]string{
		{"tcp4", "127.0.0.1:0", "127.0.0.1"}, {"tcp6", "[::1]:0", "::1"}, {"tcp", "[::]:0", "127.0.0.1"},
	} {
		for _, reader := range readers(t) {
			dialed, accepted := pair(t, address[0], address[1], address[2])
			about := append(ofThisNamespace(t), reader, "--local", dialed.LocalAddr().String())
			r := kill(t, append(about, "--dry-run")...)
			assert.Equal(t, exitDone, r.code)
			assert.Contains(t, r.stdout, dialed.LocalAddr().String()+" → "+dialed.RemoteAddr().String()+": would be killed\n")
			assert.Equal(t, "1 connection: 1 to be killed. Nothing was killed (--dry-run).\n", r.stderr)
			_, err := dialed.Write([]byte("x"))
			require.NoError(t, err, "nothing was killed")

			// From another network namespace, too.
			r = outside(t, func() result { return kill(t, about...) })
			assert.Equal(t, exitDone, r.code, r.stdout+r.stderr)
			assert.Contains(t, r.stdout, ": killed\n")
			assert.Equal(t, "1 connection: 1 killed\n", r.stderr)
			_, err = dialed.Read(make([]byte, 1))
			assert.ErrorIs(t, err, unix.ECONNABORTED)
			assert.False(t, keepalive.IsPeerLost(err))
			buffer := make([]byte, 2)
			if _, err = accepted.Read(buffer); err == nil { // the byte that was sent
				_, err = accepted.Read(buffer)
			}
			assert.ErrorIs(t, err, unix.ECONNRESET)
		}
	}
}

// A connection whose data nobody acknowledges, and one that is not established.
func TestKillStuck(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	conn := dial(t, listenOn(t, "tcp4", "127.0.0.1:0", false))
	netlab.MustSilence(t, conn)
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	awaitThat(t, func() bool {
		status, err := keepalive.Stat(conn)
		return err == nil && status.Retransmits > 2
	}, "nothing is retransmitted")
	r := kill(t, append(ofThisNamespace(t), "--suspect", "--local", conn.LocalAddr().String(), "--json")...)
	assert.Equal(t, exitDone, r.code, r.stderr)
	var o struct {
		Result string
		DryRun bool `json:"dry_run"`
		Reason *string
		Socket struct{ Timer string }
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &o))
	assert.Equal(t, "killed false retransmission", strings.Join([]string{o.Result, map[bool]string{true: "true", false: "false"}[o.DryRun], o.Socket.Timer}, " "))
	_, err = conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, unix.ECONNABORTED)
}

func TestKillRefuses(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	r := kill(t)
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "every connection is selected, want a flag that says which")
	assert.Equal(t, exitUsage, kill(t, "--listen").code, "listening sockets are never killed")

	l := newLoopback(t)
	defer l.close()
	address := l.address(t).(*unix.SockaddrInet4)
	closeOnce(&l.dialed)
	closeOnce(&l.accepted)
	r = kill(t, append(ofThisNamespace(t), "--local", net.JoinHostPort("127.0.0.1", itoa(address.Port)))...)
	assert.Equal(t, result{exitProblem, "", "keepalive: no connection is selected that the caller may see\n"}, r)
	assert.Equal(t, exitUsage, kill(t, append(ofThisNamespace(t), "extra")...).code)

	var dialer net.Dialer
	dialer.SetMultipathTCP(true)
	conn, err := dialer.Dial("tcp", listenOn(t, "tcp4", "127.0.0.1:0", true))
	require.NoError(t, err)
	defer conn.Close()
	if multipath, err := conn.(*net.TCPConn).MultipathTCP(); err == nil && multipath {
		r = kill(t, append(ofThisNamespace(t), "--local", conn.LocalAddr().String())...)
		assert.Equal(t, exitProblem, r.code)
		assert.Contains(t, r.stdout, "refused: the socket uses Multipath TCP")
	}
}

// The holder of a connection may set it, and not end it.
func TestKillWithoutRights(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	_, credential := dirOf(t, "nobody")
	server, out := startGoAs(t, credential, "127.0.0.1:7000")
	dial(t, "127.0.0.1:7000")
	out.await(t, "accepted")
	r := asNobody(t, "kill", "--pid", pid(server))
	assert.Equal(t, exitProblem, r.code)
	assert.Regexp(t, `refused: it takes CAP_NET_ADMIN in the network namespace of the socket, which root has `, r.stdout)
	assert.Contains(t, r.stderr, "1 connection: 0 killed, 1 refused\n")
}
