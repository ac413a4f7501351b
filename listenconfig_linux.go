//go:build !keepalive_portable

package keepalive

import (
	"context"
	"net"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// listen sets c after the hook of nlc and before the socket listens. Where
// accepted sockets do not inherit it, a Listener sets it on each.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	hook := nlc.Control
	nlc.Control = func(network, address string, rc syscall.RawConn) error {
		if hook != nil {
			if err := hook(network, address, rc); err != nil {
				return err
			}
		}
		return setUnconnected(rc, c)
	}
	ln, err := nlc.Listen(ctx, network, address)
	if err != nil || sockopt.AcceptInherits() {
		return ln, err
	}
	l, err := NewListener(ln, c)
	if err != nil {
		ln.Close()
		return nil, err
	}
	return l, nil
}
