package sockopt

import (
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUnsupportedOption(t *testing.T) {
	for _, errno := range append([]error{errors.ErrUnsupported}, unsupported...) {
		for _, err := range []*Error{
			newError("setsockopt", KeepIdle.Name, &net.OpError{Op: "set", Err: errno}),
			NewError(KeepIdle.Name, errno),
			{Option: KeepIdle.Name, Err: errno},
		} {
			assert.ErrorIs(t, err, errors.ErrUnsupported)
			assert.ErrorIs(t, err, errno)
			assert.ErrorContains(t, err, "TCP_KEEPIDLE")
			assert.False(t, IsDead(err))
		}
	}
	assert.NotErrorIs(t, &Error{Option: KeepIdle.Name, Err: invalid}, errors.ErrUnsupported)
}

// Accept goes on after a dead connection, and only then: an error that every
// connection returns has to end its loop.
func TestIsDead(t *testing.T) {
	for _, errno := range append([]error{net.ErrClosed, invalid}, dead...) {
		err := &Error{Option: KeepAlive.Name, Err: &net.OpError{Op: "set", Err: errno}}
		assert.True(t, IsDead(err), "%v", err)
	}
	for _, errno := range append([]error{errors.ErrUnsupported, io.EOF}, unsupported...) {
		err := &Error{Option: KeepAlive.Name, Err: errno}
		assert.False(t, IsDead(err), "%v", err)
	}
	assert.False(t, IsDead(&Error{Option: KeepIdle.Name, Err: invalid}), "a value that would be refused on every connection")
	assert.False(t, IsDead(invalid))
	assert.False(t, IsDead(Unsupported("TCP_USER_TIMEOUT", "TCP_USER_TIMEOUT")))
}

func TestControlOfNothing(t *testing.T) {
	assert.EqualError(t, RawControl(nil, nil), "keepalive: syscall.RawConn is nil, want that of a socket")
	assert.EqualError(t, RawControl(silent{}, nil), "keepalive: Control of syscall.RawConn returned without a call of its function")
	assert.ErrorIs(t, RawControl(silent{net.ErrClosed}, nil), net.ErrClosed)
}

// What has no socket, or one that is closed, is an error, and f is not called.
func TestControlOfNoSocket(t *testing.T) {
	f := func(uintptr) error { t.Error("called"); return nil }
	assert.ErrorIs(t, Control(socket{nil, net.ErrClosed}, f), net.ErrClosed)
	assert.EqualError(t, Control(socket{}, f), "keepalive: SyscallConn of sockopt.socket returned nil")
	assert.ErrorIs(t, Control(socket{silent{net.ErrClosed}, nil}, f), net.ErrClosed)
}

// socket is a syscall.Conn that returns what it holds.
type socket struct {
	rc  syscall.RawConn
	err error
}

func (s socket) SyscallConn() (syscall.RawConn, error) { return s.rc, s.err }

// An option without a number is one that the system lacks.
func TestGetOfALackingOption(t *testing.T) {
	_, err := (&Option{Name: "TCP_X"}).Get(0)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.EqualError(t, err, "keepalive: getsockopt TCP_X on "+runtime.GOOS+": unsupported operation")
}

// silent is a syscall.RawConn that calls nothing back.
type silent struct{ err error }

func (s silent) Control(func(uintptr)) error    { return s.err }
func (s silent) Read(func(uintptr) bool) error  { return s.err }
func (s silent) Write(func(uintptr) bool) error { return s.err }
