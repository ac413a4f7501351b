//go:build keepalive_portable

package readback

import (
	"errors"
	"net"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
)

func TestStatIsUnsupported(t *testing.T) {
	conn, _ := tcptest.Pair(t, new(net.Dialer), tcptest.PlainListen(t, "tcp4"))
	_, err := keepalive.Stat(conn)
	assert.EqualError(t, err, "keepalive: getsockopt TCP_INFO on linux: unsupported operation")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
