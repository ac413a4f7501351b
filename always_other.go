//go:build !(linux && !keepalive_portable) && !darwin && !dragonfly && !freebsd && !openbsd

package keepalive

func alwaysOn() bool { return false }
