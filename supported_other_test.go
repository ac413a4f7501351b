//go:build !linux || keepalive_portable

package keepalive

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/stretchr/testify/assert"
)

// What the systems lack, whichever of them this test runs on.
func TestUnsupportedOption(t *testing.T) {
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
			assert.Equal(t, tt.fresh, unsupportedOption(system, tt.config, true), "%+v on %s", tt.config, system)
			assert.Equal(t, tt.open, unsupportedOption(system, tt.config, false), "%+v on %s", tt.config, system)
		}
	}
}

// Options that some releases of Windows lack.
func TestMissingOption(t *testing.T) {
	const both = "TCP_KEEPIDLE without TCP_KEEPINTVL, or the reverse,"
	idle := Config{Idle: time.Minute}
	interval := Config{Interval: time.Second}
	for _, tt := range []struct {
		release string
		lacks   []sockopt.Option
		wants   map[Config]string
	}{
		{"now", nil, map[Config]string{idle: "", interval: "", full: ""}},
		{"10.0.15063", []sockopt.Option{sockopt.KeepIdle, sockopt.KeepIntvl}, map[Config]string{
			idle: both, interval: both, full: "", {Count: 3}: "", {Disable: true, Idle: time.Minute}: both,
		}},
		{"before", []sockopt.Option{sockopt.KeepIdle, sockopt.KeepIntvl, sockopt.KeepCnt}, map[Config]string{
			idle: both, interval: both, full: "TCP_KEEPCNT", {Idle: time.Minute, Interval: time.Second}: "", {}: "",
		}},
	} {
		lacks := func(o sockopt.Option) bool { return slices.Contains(tt.lacks, o) }
		for c, want := range tt.wants {
			assert.Equal(t, want, missingOption(lacks, c), "%v on Windows %s", c, tt.release)
		}
	}
}

// What is left out can be set.
func TestSupportedBy(t *testing.T) {
	whole := Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3, UserTimeout: time.Second, MaxRTO: time.Second}
	timing := Config{Idle: time.Minute, Interval: 5 * time.Second, Count: 3}
	for systems, tt := range map[string]struct{ config, want Config }{
		"darwin freebsd netbsd dragonfly windows illumos aix solaris": {whole, timing},
		"openbsd":     {whole, Config{}},
		"plan9":       {whole, Config{Idle: time.Minute}},
		"solaris":     {Config{Idle: time.Minute, Count: 3}, Config{Idle: time.Minute}},
		"js wasip1":   {whole, Config{Disable: true}},
		"freebsd aix": {Config{Disable: true, Count: 3}, Config{Disable: true, Count: 3}},
	} {
		for system := range strings.FieldsSeq(systems) {
			got := supportedBy(system, func(sockopt.Option) bool { return false }, tt.config)
			assert.Equal(t, tt.want, got, system)
			assert.Empty(t, unsupportedOption(system, got, true), system)
		}
	}
	old := func(o sockopt.Option) bool { return o == sockopt.KeepIdle || o == sockopt.KeepIntvl }
	assert.Equal(t, timing, supportedBy("windows", old, whole))
	assert.Equal(t, Config{Count: 3}, supportedBy("windows", old, Config{Idle: time.Minute, Count: 3}))
}
