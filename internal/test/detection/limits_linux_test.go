package detection

import (
	"syscall"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
)

// The kernel answers probes, not the program: this one never even accepts.
func TestProbesReachNoProgram(t *testing.T) {
	t.Parallel()
	ln := tcptest.PlainListen(t, "tcp4")
	conn := tcptest.Dial(t, &keepalive.Dialer{Config: tcptest.Quick}, ln)
	tcptest.AssertOpenUntil(t, conn, time.Now().Add(6*time.Second))
}

// A peer that is well, but does not read, looks dead to UserTimeout, and only
// to it.
func TestUserTimeoutEndsAPeerThatStopsReading(t *testing.T) {
	t.Parallel()
	for _, userTimeout := range []time.Duration{0, 3 * time.Second} {
		t.Run(userTimeout.String(), func(t *testing.T) {
			t.Parallel()
			c := tcptest.Quick
			c.UserTimeout = userTimeout
			tcptest.SkipUnsupported(t, c)
			conn, _ := tcptest.DialPair(t, c)
			since := time.Now()
			conn.SetWriteDeadline(since.Add(8 * time.Second))
			var err error
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<16))
			}
			if userTimeout == 0 {
				tcptest.AssertOpenUntil(t, conn, time.Now().Add(time.Millisecond))
			} else {
				tcptest.AssertWithin(t, since, userTimeout, 4500*time.Millisecond)
				assert.ErrorIs(t, err, syscall.ETIMEDOUT)
			}
		})
	}
}
