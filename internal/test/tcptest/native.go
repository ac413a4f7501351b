//go:build linux && !keepalive_portable

package tcptest

// Portable reports whether package keepalive sets options by way of package net,
// as on every system but Linux, and with the build tag keepalive_portable there.
const Portable = false
