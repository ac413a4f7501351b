package sockets

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
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

// watchLosses reports losses until the test ends. It skips the test where it may not.
func watchLosses(t testing.TB, ringSize int, others bool) *Losses {
	t.Helper()
	l, err := WatchLosses(ringSize, others)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		netlab.Skip(t, err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// nextIn returns the next losses of connections in one of the network namespaces,
// at least n. Other tests lose connections meanwhile.
func nextIn(t testing.TB, l *Losses, n int, namespaces ...uint64) (found []*Loss) {
	t.Helper()
	for len(found) < n {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		batch, err := l.Next(ctx)
		cancel()
		require.NoError(t, err, "%d of %d losses", len(found), n)
		for _, loss := range batch {
			if slices.Contains(namespaces, loss.Socket.NetNS) {
				found = append(found, loss)
			}
		}
	}
	return found
}

// allIn returns n losses of connections in network namespaces. Where [isBlind] is true
// some may be missing.
func allIn(t testing.TB, l *Losses, n int, namespaces ...uint64) (found []*Loss) {
	t.Helper()
	if !isBlind() {
		return nextIn(t, l, n, namespaces...)
	}
	const patience = 8 * time.Second // more than any of the deaths takes
	for until := time.Now().Add(patience); len(found) < n; {
		ctx, cancel := context.WithDeadline(t.Context(), until)
		batch, err := l.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		require.NoError(t, err)
		for _, loss := range batch {
			if slices.Contains(namespaces, loss.Socket.NetNS) {
				found, until = append(found, loss), time.Now().Add(patience)
			}
		}
	}
	require.NotEmpty(t, found)
	return found
}

// ownNamespace returns the network namespace of the calling thread.
func ownNamespace(t testing.TB) uint64 {
	t.Helper()
	var stat unix.Stat_t
	require.NoError(t, unix.Stat("/proc/thread-self/ns/net", &stat))
	return stat.Ino
}

// retries is tcp_retries2 of the tests: a dead peer with data in flight is given up
// after 1.4 s.
const retries = 2

// lossNamespace moves the test into a network namespace with short limits.
func lossNamespace(t testing.TB) (inode uint64) {
	t.Helper()
	netlab.NewNamespace(t)
	netlab.Sysctl(t, "tcp_retries2", fmt.Sprint(retries))
	return ownNamespace(t)
}

// A death is a way to lose a peer.
type death struct {
	name  string
	cause Cause
	phase Phase
	set   keepalive.Config
}

var deaths = []death{
	{"keepalive", ByKeepAlive, Idle, keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 1}},
	{"user timeout, idle", ByUserTimeout, Idle, keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 9, UserTimeout: 500 * time.Millisecond}},
	{"user timeout, in flight", ByUserTimeout, InFlight, keepalive.Config{UserTimeout: 400 * time.Millisecond}},
	{"user timeout, zero window", ByUserTimeout, WindowClosed, keepalive.Config{UserTimeout: time.Second}},
	{"retransmissions", ByRetransmissions, InFlight, keepalive.Config{Disable: true}},
	{"retransmissions with keepalive", ByRetransmissions, InFlight, keepalive.Config{Idle: 20 * time.Second, Interval: time.Second, Count: 1}},
	{"zero window", ByZeroWindow, WindowClosed, keepalive.Config{Disable: true}},
	{"zero window, user timeout", ByZeroWindow, WindowClosed, keepalive.Config{UserTimeout: time.Hour}},
}

// A victim is a connection whose peer is lost.
type victim struct {
	death
	conn net.Conn
	peer *net.TCPConn
	made time.Time
}

// newVictim connects in the network namespace of the calling thread.
func newVictim(t testing.TB, d death, network string, dialed bool) victim {
	t.Helper()
	conn, accepted := tcptest.Pair(t, new(net.Dialer), plainListen(t, network))
	v := victim{death: d, conn: conn, peer: accepted.(*net.TCPConn), made: time.Now()}
	if !dialed {
		v.conn, v.peer = accepted, conn.(*net.TCPConn)
	}
	v.peer.SetLinger(0)
	set := v.set
	if v.phase == WindowClosed {
		set.UserTimeout = time.Hour // see fill
	}
	require.NoError(t, set.Apply(v.conn))
	return v
}

// plainListen listens on loopback without Multipath TCP, for connections with small
// buffers.
func plainListen(t testing.TB, network string) net.Listener {
	t.Helper()
	ln := tcptest.PlainListen(t, network)
	tcptest.SetsockoptInt(t, ln, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096)
	return ln
}

// lose brings the death about. It may be called on any goroutine.
func (v victim) lose(t testing.TB) {
	if v.phase == WindowClosed {
		v.fill(t)
		tcptest.SetsockoptInt(t, v.conn, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(v.set.UserTimeout.Milliseconds()))
	}
	netlab.MustSilence(t, v.peer)
	if v.phase == InFlight {
		assert.NoError(t, tcptest.Write(v.conn))
	}
}

// fill writes until the window of the peer, which does not read, is closed. Until then
// the peer may drop what its buffer has no room for, so that data is in flight for
// longer than a death takes: no limit may apply yet.
func (v victim) fill(t testing.TB) {
	written := make([]byte, 1<<20)
	for closed := false; !closed; {
		v.conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := v.conn.Write(written); err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		info := tcptest.TCPInfo(t, v.conn)
		closed = info.Snd_wnd == 0 && info.Unacked == 0 && info.Notsent_bytes > 0 // a probe fills what is left of a window
	}
}

// awaitError returns the errno that a program gets.
func (v victim) awaitError(t testing.TB) unix.Errno {
	err := tcptest.Read(v.conn)
	var errno unix.Errno
	assert.ErrorAs(t, err, &errno, v.name)
	return errno
}

// assertDied asserts that the kernel told of the death what the program saw of it.
func (v victim) assertDied(t testing.TB, l *Loss, errno unix.Errno) {
	t.Helper()
	s := &l.Socket
	assert.Equal(t, PeerLost, l.End, v.name)
	assert.Equal(t, v.cause, l.Cause, v.name)
	assert.Equal(t, v.phase, l.Phase, v.name)
	assert.Equal(t, errno, l.Errno, v.name)
	assert.Equal(t, Established, s.State, v.name)
	assert.Equal(t, v.conn.LocalAddr().String(), s.Local.String())
	assert.Equal(t, v.conn.RemoteAddr().String(), s.Remote.String())
	assert.Equal(t, v.set.Disable, s.Config.Disable, v.name)
	assert.Equal(t, v.set.UserTimeout, s.Config.UserTimeout, v.name)
	assert.Equal(t, v.set.Effective().Idle, s.Config.Idle, v.name)
	assert.Equal(t, v.phase == InFlight, l.InFlight > 0, v.name)
	assert.Equal(t, v.phase == WindowClosed, l.Unsent > 0 && l.InFlight == 0, v.name)
	assert.Equal(t, v.phase == InFlight, s.Status.Retransmits > 0, v.name)
	if v.cause != ByUserTimeout || v.phase != WindowClosed { // which may end a peer that has just answered
		assert.Equal(t, v.phase != InFlight, s.Status.Probes > 0, v.name)
		assert.Greater(t, s.Status.SinceHeard(), 300*time.Millisecond, v.name)
	}
	assert.NotZero(t, l.Cgroup)
	assert.WithinRange(t, l.Time, v.made, time.Now())
}

// Each cause by itself, in two network namespaces.
func TestLossCauses(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	losses := watchLosses(t, RingSize, false)
	var victims []victim
	var namespaces []uint64
	for range 2 {
		namespaces = append(namespaces, lossNamespace(t))
		for _, d := range deaths {
			for _, network := range []string{"tcp4", "tcp6"} {
				for _, dialed := range []bool{true, false} {
					victims = append(victims, newVictim(t, d, network, dialed))
				}
			}
		}
	}
	assertLosses(t, losses, victims, namespaces...)
}

// assertLosses loses all of them at the same time.
func assertLosses(t *testing.T, losses *Losses, victims []victim, namespaces ...uint64) {
	t.Helper()
	errnos := make([]unix.Errno, len(victims))
	var programs sync.WaitGroup
	for i, v := range victims {
		programs.Go(func() {
			v.lose(t)
			errnos[i] = v.awaitError(t)
			v.conn.Close()
		})
	}
	byAddress := make(map[string][]*Loss)
	for _, l := range allIn(t, losses, len(victims), namespaces...) {
		key := fmt.Sprint(l.Socket.Local, l.Socket.Remote, l.Socket.NetNS)
		byAddress[key] = append(byAddress[key], l)
	}
	programs.Wait()
	perNamespace := len(victims) / len(namespaces)
	closedHere := false
	for i, v := range victims {
		found := byAddress[fmt.Sprint(v.conn.LocalAddr(), v.conn.RemoteAddr(), namespaces[i/perNamespace])]
		if len(found) == 0 && isBlind() {
			continue
		}
		if assert.Len(t, found, 1, v.name) {
			v.assertDied(t, found[0], errnos[i])
			closedHere = assertHolder(t, found[0]) || closedHere
		}
	}
	assert.True(t, closedHere, "no loss names this process")
	missed, err := losses.Missed()
	require.NoError(t, err)
	assert.Zero(t, missed)
}

// assertHolder asserts that no other process than this one, or a child of it, has
// closed the connection, and reports whether it was this one. A child that another test
// starts holds a copy until execve closes it. The process is unknown where the close
// took longer than the report waits, since a walk leaves this process out.
func assertHolder(t *testing.T, l *Loss) (closedHere bool) {
	t.Helper()
	self := Holder{newProcess(os.Getpid(), comm(os.Getpid())), -1}
	for _, h := range l.Socket.Holders {
		if h == self {
			closedHere = true
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.PID))
		if err != nil {
			continue // it has ended
		}
		_, fields, _ := strings.Cut(string(stat), ") ")
		assert.Equal(t, fmt.Sprint(os.Getpid()), strings.Fields(fields)[1], "the parent of %v", h)
	}
	return closedHere
}

// 200 connections die of random causes.
func TestLossesRandom(t *testing.T) {
	t.Parallel()
	netlab.NeedNamespace(t)
	losses := watchLosses(t, RingSize, false)
	namespace := lossNamespace(t)
	var victims []victim
	for range 200 {
		network := []string{"tcp4", "tcp6"}[rand.IntN(2)]
		victims = append(victims, newVictim(t, deaths[rand.IntN(len(deaths))], network, rand.IntN(2) == 0))
	}
	assertLosses(t, losses, victims, namespace)
}
