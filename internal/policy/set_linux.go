//go:build !keepalive_portable

package policy

import (
	"errors"
	"fmt"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// SetUnconnected sets c on a socket that is neither connected nor listening: the
// options whose field is not zero, and SO_KEEPALIVE. The others follow their
// sysctl.
func SetUnconnected(fd uintptr, c Config) error {
	if err := SetTiming(fd, c); err != nil {
		return err
	}
	return SetKeepAlive(fd, !c.Disable)
}

// SetTiming is [SetUnconnected] without SO_KEEPALIVE.
func SetTiming(fd uintptr, c Config) error {
	for i := len(Options) - 1; i >= 0; i-- {
		o := &Options[i]
		if value := o.Value(c); value != 0 {
			if err := o.Set(fd, value); err != nil {
				return explain(fd, err)
			}
		}
	}
	return nil
}

// SetKeepAlive sets SO_KEEPALIVE.
func SetKeepAlive(fd uintptr, on bool) error {
	value := 0
	if on {
		value = 1
	}
	return sockopt.KeepAlive.Set(fd, value)
}

// SetConnected sets c, which [Resolve] has returned, on a connection that was
// just made.
func SetConnected(fd uintptr, c Config) error { return setAll(fd, c, true) }

// SetDifference sets on an open connection the options in which want differs from
// held, for a want that has values which no socket accepts and this one holds.
func SetDifference(fd uintptr, held, want Config) error {
	for i := len(Options) - 1; i >= 0; i-- {
		o := &Options[i]
		if o.Of(want) == o.Of(held) {
			continue
		}
		if err := o.setResolved(fd, o.Value(want)); err != nil {
			return explain(fd, err)
		}
	}
	return SetKeepAlive(fd, !want.Disable)
}

// setAll goes through the table from its end, since the options that a socket
// may lack come last there: their refusal leaves the socket as it was.
//
// Idle comes last, after SO_KEEPALIVE: setting it while keepalive is on arms
// the timer with the new policy. Nothing else does on a connection that had
// keepalive on before (tcp_sock_set_keepidle_locked and tcp_set_keepalive in
// net/ipv4).
func setAll(fd uintptr, c Config, setIdle bool) error {
	for i := len(Options) - 1; i >= 0; i-- {
		o := &Options[i]
		if o.Option == sockopt.KeepIdle {
			if err := SetKeepAlive(fd, !c.Disable); err != nil || !setIdle {
				return err
			}
		}
		if err := o.setResolved(fd, o.Value(c)); err != nil {
			return explain(fd, err)
		}
	}
	return nil
}

// setResolved sets the option to a value that is zero only where that means off
// or no change.
func (o *Option) setResolved(fd uintptr, value int) error {
	if value == 0 && o.Zero != Off {
		return nil
	}
	err := o.Set(fd, value)
	if value == 0 && errors.Is(err, errors.ErrUnsupported) {
		return nil // off is the only state that a socket without the option has
	}
	return err
}

// CheckListening returns an error if the listening socket fd lacks an option that
// c sets: MPTCP lacks TCP_USER_TIMEOUT and TCP_RTO_MAX_MS, and before Linux 6.10
// all TCP options, except in stable releases that have them.
func CheckListening(fd uintptr, c Config) error {
	for i := range Options {
		o := &Options[i]
		if o.Value(c) == 0 && o.Zero != SystemDefault {
			continue
		}
		_, err := o.Get(fd)
		switch {
		case err == nil:
		case Protocol(fd) == unix.IPPROTO_MPTCP:
			return fmt.Errorf("%w: the listener uses MPTCP, want one of keepalive.ListenConfig, "+
				"or of a net.ListenConfig with SetMultipathTCP(false)", err)
		default:
			return explain(fd, err)
		}
	}
	return nil
}

// Protocol returns SO_PROTOCOL, 0 where that can't be read.
func Protocol(fd uintptr) int {
	p, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return p
}
