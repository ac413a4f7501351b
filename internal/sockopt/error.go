package sockopt

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
)

// An Error names the option that the system refused.
type Error struct {
	Call   string // "setsockopt" or "getsockopt", "" where net made the call
	Option string
	Err    error
}

func (e *Error) Error() string {
	if e.Call == "" {
		return fmt.Sprintf("keepalive: %s on %s: %v", e.Option, runtime.GOOS, e.Err)
	}
	return fmt.Sprintf("keepalive: %s %s: %v", e.Call, e.Option, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes an option that the system or the protocol lacks match
// [errors.ErrUnsupported]. EOPNOTSUPP does so by itself, ENOPROTOOPT does not.
func (e *Error) Is(target error) bool {
	return target == errors.ErrUnsupported && matchesAny(e.Err, unsupported)
}

// Unsupported returns the error for what this system is known to lack.
func Unsupported(what string) error {
	return fmt.Errorf("keepalive: %s on %s: %w", what, runtime.GOOS, errors.ErrUnsupported)
}

// IsDead reports whether err says that the connection ended before its options
// were set. A value that a system refuses does not: it would be refused on
// every connection. On Linux, where a socket takes options in any state, only a
// connection that was closed here does.
func IsDead(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	refused, ok := errors.AsType[*Error](err)
	return ok && (matchesAny(refused.Err, dead) || refused.Option == KeepAlive.Name && errors.Is(refused.Err, invalid))
}

func matchesAny(err error, targets []error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}
