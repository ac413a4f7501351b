//go:build !linux || keepalive_portable

package sockopt

const supportsLinux = false
