//go:build !keepalive_portable

package keepalive_test

// native tells the two builds for Linux apart: this one writes socket options,
// that with keepalive_portable goes through net, as on every other system.
const native = true
