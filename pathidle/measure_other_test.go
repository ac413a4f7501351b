//go:build !linux || keepalive_portable

package pathidle_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/seed-7be6acb7/keepalive/pathidle"
	"github.com/stretchr/testify/assert"
)

func TestMeasureElsewhere(t *testing.T) {
	r, err := pathidle.Measure(t.Context(), "tcp", "127.0.0.1:1", &pathidle.Options{
		Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("dialed")
			return nil, net.ErrClosed
		},
	})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.Zero(t, r)
}
