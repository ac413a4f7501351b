package supervise

import (
	"io"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pipe returns a pipe, whose end for writing does not block.
func pipe(t *testing.T) (r *os.File, w int) {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	r = os.NewFile(uintptr(fds[0]), "pipe")
	t.Cleanup(func() { r.Close(); unix.Close(fds[1]) })
	return r, fds[1]
}

// A write to a pipe that nobody can read fails, without a signal that would be
// passed on.
func TestStderrIsBroken(t *testing.T) {
	r, w := pipe(t)
	require.NoError(t, r.Close())
	got := make(chan os.Signal, 2)
	signal.Notify(got, unix.SIGPIPE, unix.SIGCONT)
	defer signal.Stop(got)
	_, err := newOutput(w).Write([]byte("line\n"))
	assert.ErrorIs(t, err, unix.EPIPE)
	require.NoError(t, unix.Kill(os.Getpid(), unix.SIGCONT)) // comes after SIGPIPE
	assert.Equal(t, unix.SIGCONT, <-got)
}

// A write to a full pipe that nobody reads does not hold up for long, and the next
// ones fail at once. They work again when somebody has read.
func TestStderrIsFull(t *testing.T) {
	t.Parallel()
	r, w := pipe(t)
	full := strings.Repeat("x", 1<<20)
	n, err := unix.Write(w, []byte(full))
	require.NoError(t, err)
	o := newOutput(w)
	_, err = o.Write([]byte("first\n"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	began := time.Now()
	_, err = o.Write([]byte("lost\n"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Less(t, time.Since(began), time.Second)

	require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = io.ReadFull(r, make([]byte, n))
	require.NoError(t, err)
	first := make([]byte, len("first\n"))
	_, err = io.ReadFull(r, first)
	require.NoError(t, err)
	assert.Equal(t, "first\n", string(first))
	require.Eventually(t, func() bool {
		_, err := o.Write([]byte("next\n"))
		return err == nil
	}, time.Minute, time.Millisecond)
}
