//go:build !keepalive_portable

package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// listen sets c on the listening socket. Where accepted sockets do not inherit it,
// a Listener sets it on each.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	setBeforeListen(nlc, c)
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

// setOnListen has nlc set c on listening sockets, from which accepted ones inherit
// it.
func setOnListen(nlc *net.ListenConfig, c Config) error {
	if !sockopt.AcceptInherits() {
		return fmt.Errorf("keepalive: accepted sockets do not inherit options here, want a keepalive.ListenConfig: %w", errors.ErrUnsupported)
	}
	setBeforeListen(nlc, c)
	return nil
}

// setBeforeListen has nlc set c after its hook and before the socket listens.
func setBeforeListen(nlc *net.ListenConfig, c Config) {
	hook := nlc.Control
	nlc.Control = func(network, address string, rc syscall.RawConn) error {
		if hook != nil {
			if err := hook(network, address, rc); err != nil {
				return err
			}
		}
		if !isTCP(network) {
			return nil
		}
		return setUnconnected(rc, c)
	}
}
