//go:build !keepalive_portable

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-connections 1":                  "-connections is 1, want at least 2",
		"-hold 10ms":                      "-hold is 10ms, want at least 1s",
		"-policy off":                     "want one with keepalive on",
		"-policy idle=1500ms,interval=1s": "want whole seconds for idle and interval",
		"-policy idle=1s,interval=3s":     "want an interval of at most idle",
		"now":                             `unexpected argument "now", want flags only`,
	} {
		_, err := parse(strings.Fields(args))
		assert.ErrorContains(t, err, want, args)
	}
	o, err := parse(nil)
	assert.NoError(t, err)
	assert.Equal(t, 1000, o.silent())
}
