//go:build !linux

package netlab

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// Enter returns an error: there are no silent peers but on Linux.
func Enter() error { return unsupported() }

// Silence returns an error: there are no silent peers but on Linux.
func Silence(syscall.Conn) error { return unsupported() }

func unsupported() error {
	return fmt.Errorf("netlab: silent peers need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
