package keepalive

import "github.com/seed-7be6acb7/keepalive/internal/sockopt"

// An OptionError is a socket option that the system refused or lacks. Every error
// of this package about an option wraps one, except for those of
// [Config.Validate].
//
// Its field Option is the name of the option as in tcp(7) or socket(7), such as
// "TCP_USER_TIMEOUT". Its field Err is the reason, such as a [syscall.Errno]. It
// matches [errors.ErrUnsupported] if the system or the protocol lacks the option,
// ENOPROTOOPT and EOPNOTSUPP included.
type OptionError = sockopt.Error
