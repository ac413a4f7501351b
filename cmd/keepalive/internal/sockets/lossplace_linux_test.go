package sockets

import (
	"net"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
)

// The errno is the reason that an ICMP message gave.
func TestLossReason(t *testing.T) {
	t.Parallel()
	losses := watchLosses(t, RingSize, false)
	lab := netlab.NewLab(t, netlab.Rules{Unknown: netlab.Unreachable})
	lab.Client.Sysctl(t, "net.ipv4.tcp_retries2", "3")
	var namespace uint64
	lab.Client.Do(func() { namespace = ownNamespace(t) })
	ln := lab.Server.Listen(t, new(net.ListenConfig), "tcp4", 0)
	const n = 5 // some of which isBlind may miss
	for range n {
		conn, err := lab.Client.Within(new(net.Dialer).DialContext)(t.Context(), "tcp4", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		lab.Forget(t)
		require.NoError(t, tcptest.Write(conn))
		assert.ErrorIs(t, tcptest.Read(conn), unix.EHOSTUNREACH)
	}
	for _, l := range allIn(t, losses, n, namespace) {
		assert.Equal(t, unix.EHOSTUNREACH, l.Errno)
		assert.Equal(t, ByRetransmissions, l.Cause)
		assert.Equal(t, PeerLost, l.End)
	}
}

// Plain TCP on a listener of Multipath TCP is reported, and Multipath TCP is not.
func TestLossMPTCP(t *testing.T) {
	t.Parallel()
	losses := watchLosses(t, RingSize, true)
	namespace := lossNamespace(t)
	config := keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1}
	ln := tcptest.MPTCPListen(t)
	var plain []string
	for range 5 { // some of which isBlind may miss
		peer, conn := tcptest.Pair(t, new(net.Dialer), ln)
		require.NoError(t, config.Apply(conn))
		netlab.MustSilence(t, peer.(*net.TCPConn))
		plain = append(plain, conn.RemoteAddr().String())
	}
	conn, peer := tcptest.Pair(t, tcptest.MPTCPDialer(), ln)
	require.Equal(t, unix.IPPROTO_MPTCP, tcptest.Protocol(t, conn))
	require.NoError(t, tcptest.Write(conn))
	require.NoError(t, tcptest.Read(peer))
	out, err := exec.Command(netlab.LookPath(t, "ip"), "link", "set", "lo", "down").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, tcptest.Write(conn))
	for _, l := range allIn(t, losses, len(plain), namespace) {
		assert.Contains(t, plain, l.Socket.Remote.String())
	}
}

// A socket that a process holds on to after the loss is found by its descriptor.
func TestLossHolder(t *testing.T) {
	t.Parallel()
	losses := watchLosses(t, RingSize, false)
	namespace := lossNamespace(t)
	const n = 5 // some of which isBlind may miss
	var victims []victim
	cmd := exec.Command(netlab.LookPath(t, "sleep"), "1000")
	for range n {
		v := newVictim(t, deaths[0], "tcp4", true)
		file, err := v.conn.(*net.TCPConn).File()
		require.NoError(t, err)
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
		victims = append(victims, v)
	}
	require.NoError(t, cmd.Start())
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	for _, v := range victims {
		v.lose(t)
	}
	for _, l := range allIn(t, losses, n, namespace) {
		// A child that another test starts has a copy between fork and exec.
		isSleep := func(h Holder) bool { return h.PID == cmd.Process.Pid && h.Command == "sleep" && h.FD >= 3 }
		assert.True(t, slices.ContainsFunc(l.Socket.Holders, isSleep), "%v", l.Socket.Holders)
	}
}

// A loss is reported whose error the program takes at once, as those do that ask for
// SO_ERROR when they are woken.
func TestLossErrorTaken(t *testing.T) {
	t.Parallel()
	losses := watchLosses(t, RingSize, false)
	namespace := lossNamespace(t)
	const n = 20
	var programs sync.WaitGroup
	for i := range n {
		v := newVictim(t, deaths[i%len(deaths)], "tcp4", true)
		programs.Go(func() {
			v.lose(t)
			tcptest.Control(t, v.conn, func(fd uintptr) {
				poll := []unix.PollFd{{Fd: int32(fd)}}
				for errno := 0; errno == 0; {
					unix.Poll(poll, 100) // for POLLERR
					var err error
					errno, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
					assert.NoError(t, err)
				}
			})
		})
	}
	for _, l := range allIn(t, losses, n, namespace) {
		assert.Equal(t, unix.ETIMEDOUT, l.Errno)
		assert.Equal(t, PeerLost, l.End)
	}
	programs.Wait()
}
