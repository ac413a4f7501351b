//go:build !(linux && !keepalive_portable) && !darwin && !dragonfly && !freebsd

package keepalive

func alwaysOn() bool { return false }
