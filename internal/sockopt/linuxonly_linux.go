//go:build !keepalive_portable

package sockopt

const supportsLinux = true
