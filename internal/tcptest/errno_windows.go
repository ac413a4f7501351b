package tcptest

import "golang.org/x/sys/windows"

// ETIMEDOUT is the system's error for a peer that no longer answers. That of
// package syscall is made up on Windows.
var ETIMEDOUT error = windows.WSAETIMEDOUT
