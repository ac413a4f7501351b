package keepalive

import (
	"errors"
	"net"
)

// optionError names the option that the system refused.
type optionError struct {
	doing  string // "setsockopt TCP_KEEPIDLE"
	option string
	err    error
}

func (e *optionError) Error() string { return "keepalive: " + e.doing + ": " + e.err.Error() }

func (e *optionError) Unwrap() error { return e.err }

// Is adds the errors of an option that the system or the protocol lacks to those
// that match errors.ErrUnsupported by themselves, such as EOPNOTSUPP.
func (e *optionError) Is(target error) bool {
	return target == errors.ErrUnsupported && isAny(e.err, errsLacking)
}

// isLost reports whether err says that a connection died before it was tuned.
// No value that a system refuses is among that, for it would be refused of every
// connection. On Linux, where a socket takes options in any state, only a
// connection that was closed here is.
func isLost(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	refused, ok := errors.AsType[*optionError](err)
	return ok && (isAny(refused.err, errsLost) || refused.option == "SO_KEEPALIVE" && errors.Is(refused.err, errInvalid))
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
