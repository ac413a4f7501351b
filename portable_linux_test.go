//go:build keepalive_portable

package keepalive_test

import (
	"errors"
	"net"
	"testing"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/stretchr/testify/assert"
)

const native = false

func TestStatIsUnsupported(t *testing.T) {
	conn, _ := pair(t, new(net.Dialer), plainListen(t, "tcp4"))
	_, err := keepalive.Stat(conn)
	assert.EqualError(t, err, "keepalive: getsockopt TCP_INFO on linux: unsupported operation")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
