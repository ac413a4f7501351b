//go:build !linux || keepalive_portable

package pathidle

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

func measure(context.Context, string, string, Options) (Result, error) {
	return Result{}, fmt.Errorf("pathidle: TCP_INFO on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
