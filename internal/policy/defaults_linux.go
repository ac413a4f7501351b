//go:build !keepalive_portable

package policy

import (
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
	"golang.org/x/sys/unix"
)

// SystemDefaults returns the policy of a socket whose options nobody has set, in
// the network namespace of the calling thread.
func SystemDefaults() Config {
	var c Config
	c.Idle, c.Interval, c.Count = sysctl.Documented("linux")
	for i := range Options {
		if o := &Options[i]; o.Zero == SystemDefault {
			if value, err := o.systemDefault(); err == nil {
				c = o.WithValue(c, value)
			}
		}
	}
	return c
}

// systemDefault reads the sysctl. A container may hide it or show another value
// than the one in force: gVisor has zeros there. A new socket holds the value.
func (o *Option) systemDefault() (int, error) {
	value, err := sysctl.Int(o.Sysctl)
	if err == nil && o.accepts(int64(value)) {
		return value, nil
	}
	held, refused := o.ofNewSocket()
	if refused == nil {
		return held, nil
	}
	return value, err
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
// value, and rounds up. A default that no socket accepts is an error. With
// Disable it does not matter, and stays zero: it is left out then.
func Resolve(c Config) (Config, error) {
	resolved := c.Effective()
	for i := range Options {
		o := &Options[i]
		value := o.Value(resolved)
		if o.Zero == SystemDefault && o.Of(c) == 0 && !o.accepts(int64(value)) {
			if !c.Disable {
				return Config{}, fmt.Errorf("keepalive: net.ipv4.%s is %d, a socket accepts %d to %d: set Config.%s",
					o.Sysctl, value, o.Min, o.Max, o.Field)
			}
			value = 0
		}
		resolved = o.WithValue(resolved, value)
	}
	return resolved, nil
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
