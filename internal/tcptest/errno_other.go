//go:build !windows

package tcptest

import "syscall"

// ETIMEDOUT is the system's error for a peer that no longer answers.
var ETIMEDOUT error = syscall.ETIMEDOUT
