package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBuildOf(t *testing.T) {
	t.Parallel()
	checkout := &debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Version: "v0.1.1-0.20261129095448-eb9fe405e3a1+dirty"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "eb9fe405e3a1ca41a8d37b938f00b85948c57964"},
			{Key: "vcs.time", Value: "2026-11-29T09:54:48Z"},
		},
	}
	assert.Equal(t, "v0.1.1-0.20261129095448-eb9fe405e3a1+dirty, commit eb9fe405e3a1ca41a8d37b938f00b85948c57964, go1.26.8", buildOf(checkout).String())
	assert.Equal(t, "2026-11-29", buildOf(checkout).date)
	proxy := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v0.1.0"}}
	assert.Equal(t, "v0.1.0, commit unknown, go1.26.8", buildOf(proxy).String())
	assert.Equal(t, build{"(devel)", "unknown", "", ""}, buildOf(new(debug.BuildInfo)))
}
