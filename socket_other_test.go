//go:build !linux || keepalive_portable

package keepalive

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder is a connection that refuses what it is told to.
type recorder struct {
	net.Conn
	refuse func(net.KeepAliveConfig) error
	dead   error
	calls  []net.KeepAliveConfig
	on     []bool
}

func (r *recorder) SetKeepAliveConfig(c net.KeepAliveConfig) error {
	r.calls = append(r.calls, c)
	if r.dead != nil {
		return r.dead
	}
	return r.refuse(c)
}

func (r *recorder) SetKeepAlive(on bool) error {
	r.on = append(r.on, on)
	return r.dead
}

func set(r *recorder, c Config) error {
	if err := r.SetKeepAliveConfig(netConfig(c)); err != nil {
		return setOneByOne(r, c)
	}
	return nil
}

var full = Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}

func TestNetConfig(t *testing.T) {
	assert.Equal(t, net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: -1}, netConfig(Config{}))
	assert.Equal(t, net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1}, netConfig(Config{Disable: true}))
	assert.Equal(t, net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
		netConfig(Config{Idle: time.Second + 1, Interval: 1, Count: 3}), "whole seconds, rounded up")
}

// net's error does not name the option.
func TestRefusalNamesTheOption(t *testing.T) {
	invalid := errors.New("invalid argument")
	for option, refuse := range map[string]func(net.KeepAliveConfig) error{
		"TCP_KEEPIDLE":  func(c net.KeepAliveConfig) error { return when(c.Idle >= 0, invalid) },
		"TCP_KEEPINTVL": func(c net.KeepAliveConfig) error { return when(c.Interval >= 0, invalid) },
		"TCP_KEEPCNT":   func(c net.KeepAliveConfig) error { return when(c.Count >= 0, invalid) },
	} {
		err := set(&recorder{refuse: refuse}, full)
		require.Error(t, err)
		assert.Equal(t, fmt.Sprintf("keepalive: %s on %s: %v", option, runtime.GOOS, invalid), err.Error())
		assert.ErrorIs(t, err, invalid)
		assert.False(t, sockopt.IsDead(err))
	}
}

// A connection on which even SO_KEEPALIVE is refused is dead, whatever the
// value.
func TestRefusalOfADeadConnection(t *testing.T) {
	err := set(&recorder{dead: net.ErrClosed}, full)
	assert.ErrorContains(t, err, "keepalive: SO_KEEPALIVE on ")
	assert.True(t, sockopt.IsDead(err))
}

// What is refused together may be accepted one by one: illumos, whose limit on
// Interval × Count the old Count breaks.
func TestOneByOne(t *testing.T) {
	count := 9
	r := &recorder{refuse: func(c net.KeepAliveConfig) error {
		if c.Interval > 0 && c.Interval*time.Duration(count) > 8*time.Minute {
			return errors.New("invalid argument")
		}
		if c.Count > 0 {
			count = c.Count
		}
		return nil
	}}
	assert.NoError(t, set(r, Config{Idle: time.Minute, Interval: time.Minute, Count: 3}))
	assert.Equal(t, []bool{true}, r.on, "SO_KEEPALIVE comes last")
	for _, field := range []func(net.KeepAliveConfig) bool{
		func(c net.KeepAliveConfig) bool { return c.Idle == time.Minute },
		func(c net.KeepAliveConfig) bool { return c.Interval == time.Minute },
		func(c net.KeepAliveConfig) bool { return c.Count == 3 },
	} {
		assert.True(t, slices.ContainsFunc(r.calls[1:], field))
	}
}

func when(refused bool, err error) error {
	if refused {
		return err
	}
	return nil
}
