//go:build !darwin && !dragonfly && !freebsd && !openbsd

package sysctl

// AlwaysKeepalive returns false: the system has no such setting.
func AlwaysKeepalive() bool { return false }
