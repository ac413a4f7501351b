package keepalive_test

import (
	"context"
	"errors"
	"math"
	"net"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/tcptest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestValidateAccepts(t *testing.T) {
	for _, c := range []keepalive.Config{
		{},
		{Disable: true},
		{Idle: 1, Interval: 1, Count: 1, UserTimeout: 1},
		{Idle: time.Minute, Interval: 5 * time.Second, Count: 3},
		{Idle: 32767 * time.Second, Interval: 32767 * time.Second, Count: 127, UserTimeout: math.MaxInt32 * time.Millisecond},
	} {
		assert.NoError(t, c.Validate(), "%+v", c)
	}
}

// invalid holds, for each field, what no socket accepts, and what the error says.
var invalid = []struct {
	config keepalive.Config
	says   string
}{
	{keepalive.Config{Idle: -1}, "Idle is -1ns, want 1s to 9h6m7s (32767 s), or 0"},
	{keepalive.Config{Idle: 32767*time.Second + 1}, "Idle is 9h6m7.000000001s, want 1s to 9h6m7s (32767 s), or 0"},
	{keepalive.Config{Idle: math.MaxInt64}, "Idle is 2562047h47m16.854775807s"},
	{keepalive.Config{Interval: -time.Second}, "Interval is -1s, want 1s to"},
	{keepalive.Config{Interval: 32767*time.Second + 1}, "Interval is 9h6m7.000000001s, want 1s to"},
	{keepalive.Config{Count: -1}, "Count is -1, want 1 to 127, or 0"},
	{keepalive.Config{Count: 128}, "Count is 128, want 1 to 127, or 0"},
	{keepalive.Config{UserTimeout: -1}, "UserTimeout is -1ns, want 1ms to 596h31m23.647s (2147483647 ms), or 0"},
	{keepalive.Config{UserTimeout: math.MaxInt32*time.Millisecond + 1}, "UserTimeout is 596h31m23.647000001s, want 1ms to"},
	{keepalive.Config{Disable: true, Count: 128}, "Count is 128"},
}

// Nothing happens before an invalid Config is refused: what would be called
// next is nil, closed, or fails the test.
func TestInvalidConfig(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed.Close()

	for _, tt := range invalid {
		c := tt.config
		for name, err := range map[string]error{
			"Validate": c.Validate(),
			"Control":  c.Control("tcp", "", nil),
			"Apply":    c.Apply(nil),
			"Dial": tcptest.Err((&keepalive.Dialer{Config: c}).Dial(
				"tcp", closed.Addr().String())),
			"Dial unix":   tcptest.Err((&keepalive.Dialer{Config: c}).Dial("unix", "/nowhere")),
			"Listen":      tcptest.Err((&keepalive.ListenConfig{Config: c}).Listen(t.Context(), "tcp", "127.0.0.1:0")),
			"NewListener": tcptest.Err(keepalive.NewListener(closed, c)),
			"WrapDial": tcptest.Err(c.WrapDial(func(context.Context, string, string) (net.Conn, error) {
				t.Error("dialed with an invalid Config")
				return nil, errors.New("dialed")
			})(t.Context(), "tcp", "")),
		} {
			if assert.Error(t, err, "%s of %+v", name, c) {
				assert.Contains(t, err.Error(), "keepalive: "+tt.says, name)
			}
		}
	}
}
