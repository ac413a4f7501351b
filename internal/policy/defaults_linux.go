//go:build !keepalive_portable

package policy

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
	"golang.org/x/sys/unix"
)

// SystemDefaults returns the policy of a socket whose options nobody has set, in
// the network namespace of the calling thread. A value that can't be found out is
// the one that was read last, or that of the documentation.
func SystemDefaults() Config {
	var c Config
	c.Idle, c.Interval, c.Count = sysctl.Documented("linux")
	for i := range Options {
		if o := &Options[i]; o.Zero == SystemDefault {
			value, err := o.systemDefault()
			last := &lastRead[i]
			if err == nil {
				last.Store(&value)
			} else if last := last.Load(); last != nil {
				value, err = *last, nil
			}
			if err == nil {
				c = o.WithValue(c, value)
			}
		}
	}
	return c
}

// lastRead holds the system default of each option that was read last.
var lastRead [len(Options)]atomic.Pointer[int]

// systemDefault reads the sysctl. A container may hide it or show another value
// than the one in force: gVisor has zeros there. A new socket holds the value.
func (o *Option) systemDefault() (int, error) {
	value, err := sysctl.Int(o.Sysctl)
	if err == nil && o.accepts(int64(value)) {
		return value, nil
	}
	held, refused := o.ofNewSocket()
	switch {
	case refused == nil:
		return held, nil
	case err != nil:
		return 0, fmt.Errorf("the system default of %s is unknown: %w; %w", o.Name, err, refused)
	}
	return value, nil
}

func (o *Option) ofNewSocket() (value int, err error) {
	err = withNewSocket(func(fd uintptr) (err error) {
		value, err = o.Get(fd)
		return err
	})
	return value, err
}

// OfNewSocket returns the policy of a new socket in the network namespace of the
// calling thread, with SO_KEEPALIVE on.
func OfNewSocket() (c Config, err error) {
	err = withNewSocket(func(fd uintptr) (err error) {
		c, err = Get(fd)
		return err
	})
	c.Disable = false
	return c, err
}

func withNewSocket(f func(fd uintptr) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	return f(uintptr(fd))
}

// Resolve fills in the system's defaults, which have to be set like any other
// value, and rounds up. A default that is unknown or that no socket accepts is an
// error. With Disable it does not matter, and stays zero: it is left out then.
func Resolve(c Config) (Config, error) {
	for i := range Options {
		o := &Options[i]
		value := o.Value(c)
		if value == 0 && o.Zero == SystemDefault {
			var err error
			if value, err = o.acceptedDefault(); err != nil && !c.Disable {
				return Config{}, fmt.Errorf("keepalive: %w: set Config.%s", err, o.Field)
			}
		}
		c = o.WithValue(c, value)
	}
	return c, nil
}

// acceptedDefault returns the system default, or 0 and an error.
func (o *Option) acceptedDefault() (int, error) {
	value, err := o.systemDefault()
	if err != nil {
		return 0, err
	}
	if !o.accepts(int64(value)) {
		return 0, fmt.Errorf("net.ipv4.%s is %d, a socket accepts %d to %d", o.Sysctl, value, o.Min, o.Max)
	}
	return value, nil
}

// Retransmissions returns tcp_retries2, and tcp_rto_max_ms, which is fixed
// before Linux 6.15. A new socket knows the latter too.
func Retransmissions() (retries int, maxRTO time.Duration, ok bool) {
	retries, err := sysctl.Int("tcp_retries2")
	if err != nil || retries < 0 {
		return 0, 0, false
	}
	o := &Option{Option: sockopt.MaxRTO}
	if ms, err := o.ofNewSocket(); err == nil {
		return retries, time.Duration(ms) * time.Millisecond, true
	}
	return retries, 120 * time.Second, true // TCP_RTO_MAX_SEC
}

// Supported returns c without the options that this release of Linux lacks.
func Supported(c Config) Config {
	for i := range Options {
		if o := &Options[i]; o.Since != "" && o.Of(c) != 0 && lacks(i) {
			c = o.With(c, 0)
		}
	}
	return c
}

// knownLacking is 1 for an option that a new socket has, and 2 for one that it
// lacks.
var knownLacking [len(Options)]atomic.Int32

// lacks asks a new socket. Where there is none, the option may be there.
func lacks(i int) bool {
	known := knownLacking[i].Load()
	if known == 0 {
		switch _, err := Options[i].ofNewSocket(); {
		case err == nil:
			known = 1
		case errors.Is(err, errors.ErrUnsupported):
			known = 2
		}
		knownLacking[i].Store(known)
	}
	return known == 2
}
