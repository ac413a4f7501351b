//go:build !keepalive_portable

package main

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// open returns a worker of 10 connections, of which 3 peers are to fall silent.
// The test is skipped where they may not. With a Count of 1, a packet that the
// machine's loopback drops would end a connection.
func open(t *testing.T) *Worker {
	t.Helper()
	w := newWorker(options{connections: 10, policy: keepalive.Config{Idle: time.Second, Interval: time.Second, Count: 3}}, 0, 1)
	w.silenced, w.timeout = 3, 5*time.Second
	require.NoError(t, w.Open(0, new(Reply)))
	for _, c := range w.live {
		t.Cleanup(func() {
			for _, conn := range []*net.TCPConn{c.prober, c.peer} {
				conn.SetLinger(0) // a silent one acknowledges no FIN
				conn.Close()
			}
		})
	}
	netlab.MustSilence(t, w.live[0].peer)
	require.NoError(t, netlab.Wake(w.live[0].peer))
	return w
}

func TestWorker(t *testing.T) {
	t.Parallel()
	w := open(t)
	var r Reply
	require.NoError(t, w.Silence(0, &r))
	assert.Equal(t, 3, r.N)
	for _, method := range []func(time.Duration, *Reply) error{w.Idle, w.Echo, w.Disable, w.Idle, w.Close} {
		require.NoError(t, method(time.Second, &r))
		assert.Equal(t, 7, r.N)
	}
}

// The soak proves nothing unless it finds these failures.
func TestFailureIsFound(t *testing.T) {
	t.Parallel()
	silencePeer := func(c *connection) error { return netlab.Silence(c.peer) }
	endPeer := func(c *connection) error { return c.peer.CloseWrite() }
	writeToPeer := func(c *connection) error { return binary.Write(c.prober, binary.BigEndian, uint64(7)) }
	writeToProber := func(c *connection) error { return binary.Write(c.peer, binary.BigEndian, uint64(7)) }
	idle := func(w *Worker) error { return w.Idle(10*time.Second, new(Reply)) }
	echo := func(w *Worker) error { return w.Echo(0, new(Reply)) }
	end := func(w *Worker) error { return w.Close(0, new(Reply)) }
	for name, tt := range map[string]struct {
		failure func(*connection) error
		method  func(*Worker) error
		err     string
	}{
		"lost while idle":   {endPeer, idle, "connection 3: EOF"},
		"dead while idle":   {silencePeer, idle, "connection timed out"},
		"spoken while idle": {writeToProber, idle, "connection 3: unexpected message 7"},
		"message lost":      {silencePeer, echo, "i/o timeout"},
		"wrong message":     {writeToPeer, echo, "connection 3: unexpected message 7"},
		"wrong answer":      {writeToProber, echo, "connection 3: unexpected message 7"},
		"message twice":     {writeToPeer, end, "connection 3: unexpected message 7 at the peer"},
		"answer twice":      {writeToProber, end, "connection 3: unexpected message 7"},
		"end lost":          {silencePeer, end, "i/o timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			require.NoError(t, tt.failure(w.live[3]))
			assert.ErrorContains(t, tt.method(w), tt.err)
		})
	}
}

func TestSilentPeerThatIsNotNoticedIsFound(t *testing.T) {
	t.Parallel()
	w := open(t)
	all := w.live
	require.NoError(t, w.silencePeers())
	require.NoError(t, netlab.Wake(all[0].peer))
	var r Reply
	require.NoError(t, w.awaitNotices(&r))
	assert.Equal(t, 2, r.N)
}

func TestConnectionLostBesideSilentPeersIsFound(t *testing.T) {
	t.Parallel()
	w := open(t)
	require.NoError(t, w.silencePeers())
	require.NoError(t, w.live[0].peer.CloseWrite())
	assert.ErrorContains(t, w.awaitNotices(new(Reply)), "EOF")
}

func TestWrongPolicyIsFound(t *testing.T) {
	t.Parallel()
	w := open(t)
	for _, c := range w.live[:2] { // an accepted prober and a dialed one
		require.NoError(t, c.verify(w.policy))
		require.NoError(t, keepalive.Config{Idle: time.Minute}.Apply(c.prober))
		assert.ErrorContains(t, c.verify(w.policy), "the kernel holds idle=1m0s,")
		require.NoError(t, w.policy.Apply(c.prober))
		require.NoError(t, w.policy.Apply(c.peer))
		assert.ErrorContains(t, c.verify(w.policy), "at the peer, want off")
	}
}
