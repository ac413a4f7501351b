//go:build !keepalive_portable

package keepalive

import (
	"context"
	"net"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	setBeforeConnect(nd, c)
	return nd.DialContext(ctx, network, address)
}

// setOnDial is setBeforeConnect. Other systems than Linux may return an error.
func setOnDial(nd *net.Dialer, c Config) error {
	setBeforeConnect(nd, c)
	return nil
}

// setBeforeConnect has nd set c after its hook and before a socket connects, all but
// SO_KEEPALIVE, which net sets once it has connected. That arms the timer after a
// simultaneous open too, which skips where a connect does so itself
// (tcp_finish_connect in net/ipv4/tcp_input.c). On a socket that has SO_KEEPALIVE
// already, as a hook may have set it, it would arm nothing. net drops the error,
// so SO_KEEPALIVE is tried before.
//
// ControlContext takes precedence over Control, as in net.
func setBeforeConnect(nd *net.Dialer, c Config) {
	hookContext, hook := nd.ControlContext, nd.Control
	nd.KeepAliveConfig = net.KeepAliveConfig{Enable: !c.Disable, Idle: -1, Interval: -1, Count: -1} // sets no timing
	nd.ControlContext = func(ctx context.Context, network, address string, rc syscall.RawConn) error {
		var err error
		if hookContext != nil {
			err = hookContext(ctx, network, address, rc)
		} else if hook != nil {
			err = hook(network, address, rc)
		}
		if err != nil || !isTCP(network) {
			return err
		}
		return sockopt.RawControl(rc, func(fd uintptr) error {
			if err := policy.SetTiming(fd, policy.Config(c)); err != nil {
				return err
			}
			if !c.Disable {
				if err := policy.SetKeepAlive(fd, true); err != nil {
					return err
				}
			}
			return policy.SetKeepAlive(fd, false)
		})
	}
}
