package policy

import (
	"errors"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// Get returns the policy that the socket fd holds. TCP options come first: other
// sockets than TCP's have SO_KEEPALIVE.
func Get(fd uintptr) (c Config, err error) {
	for i := range Options {
		o := &Options[i]
		value, err := o.Get(fd)
		if err != nil && (o.Zero == SystemDefault || !errors.Is(err, errors.ErrUnsupported)) {
			return c, explain(fd, err)
		}
		if value != o.Unset {
			c = o.WithValue(c, value)
		}
	}
	on, err := sockopt.KeepAlive.Get(fd)
	c.Disable = on == 0 // the BSDs and macOS return 8 for on
	return c, err
}

// AsRead returns c as [Get] returns it from a socket that holds c.
func (c Config) AsRead() Config {
	for i := range Options {
		if o := &Options[i]; o.Of(c) == int64(o.Unset)*int64(o.Unit) {
			c = o.With(c, 0)
		}
	}
	return c
}
