//go:build !linux || keepalive_portable

package keepalive

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the systems lack, whichever of them this test runs on.
func TestLacking(t *testing.T) {
	off := Config{Disable: true}
	idle := Config{Idle: time.Minute}
	interval := Config{Interval: time.Second}
	count := Config{Count: 3}
	for _, tt := range []struct {
		systems string
		config  Config
		fresh   string // what is missing on a socket of our own
		open    string // and on one that net opened
	}{
		{"darwin freebsd netbsd dragonfly openbsd windows illumos solaris aix plan9 linux", Config{}, "", ""},
		{"darwin freebsd netbsd dragonfly openbsd windows illumos solaris aix linux", off, "", ""},
		{"plan9", off, "", "SO_KEEPALIVE off"},
		{"js wasip1", off, "", ""},
		{"js wasip1", Config{}, "SO_KEEPALIVE", "SO_KEEPALIVE"},
		{"js wasip1", Config{Disable: true, Idle: time.Minute}, "TCP_KEEPIDLE", "TCP_KEEPIDLE"},

		{"darwin freebsd netbsd dragonfly windows illumos solaris aix linux plan9", idle, "", ""},
		{"openbsd", idle, "TCP_KEEPIDLE", "TCP_KEEPIDLE"},
		{"darwin freebsd netbsd dragonfly windows illumos aix linux", interval, "", ""},
		{"openbsd plan9", interval, "TCP_KEEPINTVL", "TCP_KEEPINTVL"},
		{"darwin freebsd netbsd dragonfly windows illumos aix linux", count, "", ""},
		{"openbsd plan9", count, "TCP_KEEPCNT", "TCP_KEEPCNT"},

		{"solaris", interval, "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,", "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,"},
		{"solaris", count, "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,", "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,"},
		{"solaris", Config{Interval: time.Second, Count: 3}, "", ""},

		{
			"darwin freebsd netbsd dragonfly openbsd windows illumos solaris aix plan9 js wasip1 linux",
			Config{UserTimeout: time.Second}, "TCP_USER_TIMEOUT", "TCP_USER_TIMEOUT",
		},
	} {
		for system := range strings.FieldsSeq(tt.systems) {
			assert.Equal(t, tt.fresh, lacking(system, tt.config, true), "%+v on %s", tt.config, system)
			assert.Equal(t, tt.open, lacking(system, tt.config, false), "%+v on %s", tt.config, system)
		}
	}
}

func TestDocumented(t *testing.T) {
	assert.Equal(t, documented(runtime.GOOS), SystemDefaults())
	for system := range strings.FieldsSeq("darwin freebsd netbsd dragonfly openbsd windows illumos solaris aix plan9 js wasip1 linux android ios") {
		c := documented(system)
		assert.NoError(t, c.Validate(), system)
		assert.True(t, c.Idle > 0 && c.Interval > 0 && c.Count > 0, system)
	}
	// Detection of the same silence, from the documentation's sentences.
	total := func(system string) time.Duration {
		c := documented(system)
		return c.Idle + time.Duration(c.Count)*c.Interval
	}
	assert.Equal(t, 2*time.Hour+10*time.Minute, total("freebsd"))
	assert.Equal(t, 2*time.Hour+11*time.Minute+15*time.Second, total("linux"))
	assert.Equal(t, 2*time.Hour+8*time.Minute, total("illumos"))
	assert.Equal(t, 2*time.Hour+10*time.Second, total("windows"))
	assert.Equal(t, 12*time.Minute, total("plan9"))
}

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

// net's error does not say which option it is about.
func TestRefusalNamesTheOption(t *testing.T) {
	invalid := &net.OpError{Op: "set", Net: "tcp", Err: errInvalid}
	for option, refuse := range map[string]func(net.KeepAliveConfig) error{
		"TCP_KEEPIDLE":  func(c net.KeepAliveConfig) error { return when(c.Idle >= 0, invalid) },
		"TCP_KEEPINTVL": func(c net.KeepAliveConfig) error { return when(c.Interval >= 0, invalid) },
		"TCP_KEEPCNT":   func(c net.KeepAliveConfig) error { return when(c.Count >= 0, invalid) },
	} {
		err := set(&recorder{refuse: refuse}, full)
		require.Error(t, err)
		assert.Equal(t, fmt.Sprintf("keepalive: %s on %s: %v", option, runtime.GOOS, invalid), err.Error())
		assert.False(t, isLost(err), "a value that is refused would be refused of every connection")
		assert.NotErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorIs(t, err, errInvalid)
	}
}

// What is refused together may be accepted one by one: illumos, whose limit on
// Interval × Count the old Count breaks.
func TestOneByOne(t *testing.T) {
	count := 9
	r := &recorder{refuse: func(c net.KeepAliveConfig) error {
		if c.Interval > 0 && c.Interval*time.Duration(count) > 8*time.Minute {
			return errInvalid
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

func TestOptionThatTheReleaseLacks(t *testing.T) {
	for _, errno := range errsLacking {
		err := set(&recorder{refuse: func(c net.KeepAliveConfig) error { return when(c.Count >= 0, errno) }}, full)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorIs(t, err, errno)
		assert.ErrorContains(t, err, "TCP_KEEPCNT on "+runtime.GOOS)
		assert.False(t, isLost(err))
	}
}

// A dead connection is passed over by Accept, and only a dead one: what comes
// for every connection has to end the loop.
func TestIsLost(t *testing.T) {
	for _, errno := range append(slices.Clone(errsLost), net.ErrClosed, errInvalid) {
		err := set(&recorder{dead: &net.OpError{Op: "set", Err: errno}}, full)
		assert.True(t, isLost(err), "%v", err)
		assert.ErrorContains(t, err, "SO_KEEPALIVE", "nothing is wrong with a value")
	}
	for _, errno := range append(slices.Clone(errsLacking), errors.ErrUnsupported, io.EOF) {
		err := set(&recorder{dead: errno}, full)
		assert.False(t, isLost(err), "%v", err)
	}
	assert.False(t, isLost(errInvalid))
	assert.False(t, isLost(unsupported("TCP_USER_TIMEOUT")))
}

func when(refused bool, err error) error {
	if refused {
		return err
	}
	return nil
}
