//go:build !linux && !windows

package netlab

func (s System) here() bool { return false }
