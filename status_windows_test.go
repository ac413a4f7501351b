package keepalive_test

import "golang.org/x/sys/windows"

// The ETIMEDOUT of syscall is made up on Windows.
func init() { timedOut = windows.WSAETIMEDOUT }
