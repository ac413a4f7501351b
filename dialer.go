package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Dialer dials connections with a keepalive policy of their own. It is safe
// for concurrent use while its fields stay as they are.
type Dialer struct {
	// NetDialer makes the connections. It is not modified: a copy of it
	// dials, without its KeepAlive and KeepAliveConfig. Its ControlContext
	// or Control runs before Config is set. A nil NetDialer is the zero
	// net.Dialer.
	NetDialer *net.Dialer

	// Config is set on every TCP socket before it connects.
	Config Config
}

// Dial is [Dialer.DialContext] with the background context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects as [net.Dialer.DialContext] does and returns the same
// [*net.TCPConn]. Networks other than tcp, tcp4 and tcp6 are dialed as
// NetDialer would.
//
// An invalid Config is an error before anything is dialed. A policy that the
// system refuses is an error that names the option.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := d.Config.Validate(); err != nil {
		return nil, err
	}
	var nd net.Dialer
	if d.NetDialer != nil {
		nd = *d.NetDialer
	}
	if !isTCP(network) {
		return nd.DialContext(ctx, network, address)
	}
	// Otherwise net writes its own timing once it is connected.
	nd.KeepAlive, nd.KeepAliveConfig = -1, net.KeepAliveConfig{}
	return dial(ctx, &nd, d.Config, network, address)
}

// DialFunc is what most clients let their users set: http.Transport's
// DialContext, pgconn's DialFunc, grpc's WithContextDialer and others.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// WrapDial returns a dial function that applies c to the connections of dial,
// as [Config.Apply] does. It is for dialers that are not a [net.Dialer]: a TLS
// dialer, a tunnel. The system's defaults are read once, here.
//
// Where c can't be applied, the connection is closed and the error returned,
// also for an invalid c, then before anything is dialed. A proxy whose
// connections hide their socket, as those of golang.org/x/net/proxy do, takes
// the wrapped function, or a [Dialer], as what it dials the proxy with. Networks
// other than tcp, tcp4 and tcp6 pass through.
func (c Config) WrapDial(dial DialFunc) DialFunc {
	invalid := c.Validate()
	if dial == nil {
		invalid = errors.New("keepalive: WrapDial needs a dial function, got nil")
	}
	settled, unsettled := settle(c)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if invalid != nil {
			return nil, invalid
		}
		if !isTCP(network) {
			return dial(ctx, network, address)
		}
		if unsettled != nil {
			return nil, unsettled
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return conn, err
		}
		if err := apply(conn, settled); err != nil {
			if conn != nil {
				conn.Close()
			}
			return nil, fmt.Errorf("dial %s %s: %w", network, address, err)
		}
		return conn, nil
	}
}
