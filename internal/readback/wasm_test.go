//go:build ignore && js || wasip1

package keepalive_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// net's network for js and wasip1 is in memory and has no keepalive. A Config
// that asks for it, as the zero Config does, is refused before anything is
// dialed; one that switches it off gets a working connection on every path.
func TestNetworkInMemory(t *testing.T) {
	ln := plainListen(t, "tcp4")
	on := keepalive.Config{}
	dialed, accepted := pair(t, new(net.Dialer), ln)
	for path, err := range map[string]error{
		"Apply":        on.Apply(dialed),
		"Control":      on.Control("tcp4", "", nil),
		"Dialer":       second((&keepalive.Dialer{Config: on}).Dial("tcp4", ln.Addr().String())),
		"ListenConfig": second((&keepalive.ListenConfig{Config: on}).Listen(t.Context(), "tcp4", "127.0.0.1:0")),
		"WrapDial":     second(on.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp4", ln.Addr().String())),
		"NewListener":  second(keepalive.NewListener(ln, on)),
	} {
		assert.ErrorIs(t, err, errors.ErrUnsupported, path)
		assert.EqualError(t, err, "keepalive: SO_KEEPALIVE on "+runtime.GOOS+": unsupported operation", path)
	}
	_, err := keepalive.Get(dialed)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.EqualError(t, keepalive.Config{Disable: true, Idle: time.Minute}.Apply(dialed),
		"keepalive: TCP_KEEPIDLE on "+runtime.GOOS+": unsupported operation")
	works(t, dialed, accepted)

	off := keepalive.Config{Disable: true}
	require.NoError(t, off.Apply(dialed))
	dialed, accepted = pair(t, &keepalive.Dialer{Config: off}, listen(t, &keepalive.ListenConfig{Config: off}, "tcp4"))
	works(t, dialed, accepted)

	outer, err := keepalive.NewListener(ln, off)
	require.NoError(t, err)
	dialed, err = off.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp4", ln.Addr().String())
	require.NoError(t, err)
	defer dialed.Close()
	accepted, err = outer.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	assert.Equal(t, dialed.LocalAddr().String(), accepted.RemoteAddr().String(), "nothing else was dialed in between")
	works(t, dialed, accepted)
}

func works(t *testing.T, dialed, accepted net.Conn) {
	t.Helper()
	_, err := dialed.Write([]byte("x"))
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = io.ReadFull(accepted, b)
	require.NoError(t, err)
	assert.Equal(t, "x", string(b))
}
