//go:build !linux

package netlab

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// Silence returns an error: it needs Linux.
func Silence(syscall.Conn) error {
	return fmt.Errorf("netlab: silent peers need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
