//go:build ignore

package keepalive_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The kernel answers probes, not the program: this one never even accepts.
func TestProbesReachNoProgram(t *testing.T) {
	t.Parallel()
	ln := plainListen(t, "tcp4")
	conn, err := (&keepalive.Dialer{Config: quick}).Dial("tcp4", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	stillOpen(t, conn, time.Now().Add(6*time.Second))
}

// A peer that is well, but does not read, looks dead to UserTimeout, and only
// to it.
func TestUserTimeoutEndsAPeerThatStopsReading(t *testing.T) {
	t.Parallel()
	for _, userTimeout := range []time.Duration{0, 3 * time.Second} {
		t.Run(userTimeout.String(), func(t *testing.T) {
			t.Parallel()
			c := quick
			c.UserTimeout = userTimeout
			if refused(t, c) {
				return
			}
			conn, _ := pair(t, &keepalive.Dialer{Config: c}, plainListen(t, "tcp4"))
			since := time.Now()
			conn.SetWriteDeadline(since.Add(8 * time.Second))
			var err error
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<16))
			}
			if userTimeout == 0 {
				stillOpen(t, conn, time.Now().Add(time.Millisecond))
			} else {
				within(t, since, userTimeout, 4500*time.Millisecond)
				assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			}
		})
	}
}
