package sockopt

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
)

// An Error is an option that the system refused or lacks. It is
// keepalive.OptionError, which documents it.
type Error struct {
	Option string
	Err    error

	subject string // of the text, "" for Option
}

func newError(call, option string, err error) *Error {
	return &Error{Option: option, Err: err, subject: call + " " + option}
}

// NewError returns the error of an option that net has set.
func NewError(option string, err error) *Error {
	return &Error{Option: option, Err: err, subject: option + " on " + runtime.GOOS}
}

// Unsupported returns the error of an option that this system is known to lack.
// what names the option in the text.
func Unsupported(option, what string) *Error {
	return &Error{Option: option, Err: errors.ErrUnsupported, subject: what + " on " + runtime.GOOS}
}

func (e *Error) Error() string {
	return fmt.Sprintf("keepalive: %s: %v", cmp.Or(e.subject, e.Option), e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes an option that the system or the protocol lacks match
// [errors.ErrUnsupported]. EOPNOTSUPP does so by itself, ENOPROTOOPT does not.
func (e *Error) Is(target error) bool {
	return target == errors.ErrUnsupported && matchesAny(e.Err, unsupported)
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
