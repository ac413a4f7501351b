package sysctl

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestDocumented(t *testing.T) {
	for goos := range strings.FieldsSeq("darwin freebsd netbsd dragonfly openbsd windows illumos solaris aix plan9 js wasip1 linux android ios") {
		idle, interval, count := Documented(goos)
		assert.True(t, idle > 0 && interval > 0 && count > 0, goos)
	}
	// How long the same silence goes unnoticed, from the documentation's
	// sentences.
	for goos, want := range map[string]time.Duration{
		"freebsd": 2*time.Hour + 10*time.Minute,
		"linux":   2*time.Hour + 11*time.Minute + 15*time.Second,
		"illumos": 2*time.Hour + 8*time.Minute,
		"windows": 2*time.Hour + 10*time.Second,
		"plan9":   12 * time.Minute,
	} {
		idle, interval, count := Documented(goos)
		assert.Equal(t, want, idle+time.Duration(count)*interval, goos)
	}
}
