//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

func soak(context.Context, options, io.Writer, io.Writer) error {
	return fmt.Errorf("network namespaces and silent peers need Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
