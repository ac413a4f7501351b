//go:build js || wasip1

package readback

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// net's network for js and wasip1 is in memory and has no keepalive. A Config
// that asks for it, as the zero Config does, is refused before anything is
// dialed; one that switches it off gets a working connection on every path.
func TestNetworkInMemory(t *testing.T) {
	ln := tcptest.PlainListen(t, "tcp4")
	on := keepalive.Config{}
	dialed, accepted := tcptest.Pair(t, new(net.Dialer), ln)
	for path, err := range map[string]error{
		"Apply":        on.Apply(dialed),
		"Control":      on.Control("tcp4", "", nil),
		"Dialer":       tcptest.Err((&keepalive.Dialer{Config: on}).Dial("tcp4", ln.Addr().String())),
		"ListenConfig": tcptest.Err((&keepalive.ListenConfig{Config: on}).Listen(t.Context(), "tcp4", "127.0.0.1:0")),
		"WrapDial":     tcptest.Err(on.WrapDial(new(net.Dialer).DialContext)(t.Context(), "tcp4", ln.Addr().String())),
		"NewListener":  tcptest.Err(keepalive.NewListener(ln, on)),
	} {
		assert.ErrorIs(t, err, errors.ErrUnsupported, path)
		assert.EqualError(t, err, "keepalive: SO_KEEPALIVE on "+runtime.GOOS+": unsupported operation", path)
	}
	_, err := keepalive.Get(dialed)
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.EqualError(t, keepalive.Config{Disable: true, Idle: time.Minute}.Apply(dialed),
		"keepalive: TCP_KEEPIDLE on "+runtime.GOOS+": unsupported operation")
	tcptest.Exchange(t, dialed, accepted)

	off := keepalive.Config{Disable: true}
	require.NoError(t, off.Apply(dialed))
	dialed, accepted = tcptest.Pair(t, &keepalive.Dialer{Config: off}, tcptest.Listen(t, &keepalive.ListenConfig{Config: off}, "tcp4"))
	tcptest.Exchange(t, dialed, accepted)

	outer, err := keepalive.NewListener(ln, off)
	require.NoError(t, err)
	dialed, accepted = tcptest.Pair(t, tcptest.DialFunc(off.WrapDial(new(net.Dialer).DialContext)), outer)
	assert.Equal(t, dialed.LocalAddr().String(), accepted.RemoteAddr().String(), "nothing else was dialed in between")
	tcptest.Exchange(t, dialed, accepted)
}
