//go:build keepalive_portable

package keepalive_test

const native = false
