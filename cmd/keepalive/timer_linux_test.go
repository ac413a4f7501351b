package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A policy that is set with data in flight waits for the timer that is armed.
func TestTimerOfDataInFlight(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	conn := dial(t, listenOn(t, "tcp4", "127.0.0.1:0", false))
	netlab.MustSilence(t, conn)
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	about := append(ofThisNamespace(t), "--local", conn.LocalAddr().String())
	stuck := func(flags ...string) []listed { return list(t, append(flags, about...)...) }
	set := append(append([]string{"set"}, about...), "user_timeout=1s")
	long := regexp.MustCompile(`user_timeout=1s \(takes effect at the next retransmission, in ([2-9]\d|1m.*)s\)\n$`)
	awaitThat(t, func() bool { // for a timer that lasts longer than this test looks at it
		return long.MatchString(runCommand(t, append(set, "--dry-run")...).stdout)
	}, "nothing is retransmitted")
	r := runCommand(t, set...)
	assert.Regexp(t, `user_timeout=1s \(takes effect at the next retransmission, in .*s\)\n$`, r.stdout)
	for _, reader := range readers(t) {
		l := stuck(reader)
		require.Len(t, l, 1)
		assert.Equal(t, "retransmission", value(t, l[0].Timer))
		assert.Greater(t, float64(value(t, l[0].TimerLeft)), 1.0)
		assert.Equal(t, 1.0, float64(value(t, l[0].UnnoticedInFlight)), "what the policy says")
		r = runCommand(t, append([]string{"ls", reader, "--hang-in-flight", "2s"}, about...)...)
		assert.Equal(t, exitProblem, r.code)
		assert.Regexp(t, ` 1s \(.*s\) `, r.stdout)
		assert.Equal(t, exitDone, runCommand(t, append([]string{"ls", reader, "--hang-in-flight", "3m"}, about...)...).code)
	}
	_, err = conn.Read(make([]byte, 1))
	assert.ErrorIs(t, err, unix.ETIMEDOUT, "at the next retransmission")
}

// readers returns the flags for the readers that the caller may use.
func readers(t testing.TB) []string {
	t.Helper()
	if strings.Contains(runCommand(t, "ls", "--reader=bpf", "--command", "nonesuch").stderr, noIterator) {
		return []string{"--reader=getfd"}
	}
	return []string{"--reader=bpf", "--reader=getfd"}
}

func TestTimers(t *testing.T) {
	t.Parallel()
	netlab.NewNamespace(t)
	idle, full := newLoopback(t), newLoopback(t)
	defer idle.close()
	defer full.close()
	require.NoError(t, unix.SetsockoptInt(idle.dialed, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 100))
	require.NoError(t, unix.SetsockoptInt(idle.dialed, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	require.NoError(t, unix.SetNonblock(full.dialed, true))
	for { // more than the peer, which does not read, has room for
		if _, err := unix.Write(full.dialed, make([]byte, 64<<10)); err != nil {
			require.ErrorIs(t, err, unix.EAGAIN)
			break
		}
	}
	for _, reader := range readers(t) {
		timers := make(map[string]listed)
		awaitThat(t, func() bool {
			clear(timers)
			// From a namespace where the main thread of this process is not, either.
			for _, o := range outside(t, func() []listed { return list(t, append(ofThisProcess(), reader)...) }) {
				if value(t, o.NetNS) == namespaceOf(t) {
					timers[value(t, o.Timer)] = o
				}
			}
			return timers["zero-window"].Timer != nil
		}, "no zero-window probe is due")
		left := float64(value(t, timers["keepalive"].TimerLeft))
		assert.True(t, left > 0 && left <= 100, left)
		assert.NotNil(t, timers["zero-window"].TimerLeft)
		assert.Nil(t, timers["none"].TimerLeft)
	}
}
