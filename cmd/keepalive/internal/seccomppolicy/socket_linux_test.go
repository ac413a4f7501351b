package seccomppolicy

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A thread that is killed while it waits has no socket of which the user should
// know.
func TestSocketGivenUp(t *testing.T) {
	const none = -1 // no listener, and so no thread that waits
	var said bytes.Buffer
	s := &Server{policy: new(Policy), listener: none, notes: newNotes(&said)}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := newOrigin()
	require.NoError(t, err)
	defer unix.Close(own.proc)
	const noThread = 1 << 30 // above PID_MAX_LIMIT
	s.answerSocket(own, &notification{tid: noThread, arch: native.arch, nr: native.socket})
	s.answerForeign(&notification{tid: noThread, arch: native.foreign[0].arch, nr: native.foreign[0].socket})
	s.Close()
	assert.Empty(t, said.String())
}
