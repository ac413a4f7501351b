package keepalive

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Dialer dials connections with a keepalive policy. It is safe for concurrent
// use as long as its fields do not change.
type Dialer struct {
	// NetDialer makes the connections. A copy of it dials, without its
	// KeepAlive and KeepAliveConfig. Its ControlContext or Control runs
	// before Config is set. A nil NetDialer is equivalent to the zero
	// net.Dialer.
	NetDialer *net.Dialer

	// Config is set on every TCP socket before it connects, except for
	// SO_KEEPALIVE, which is set after that.
	//
	// If NetDialer uses MPTCP, a UserTimeout or MaxRTO makes net use plain
	// TCP instead, since MPTCP has neither option.
	Config Config
}

// Dial is [Dialer.DialContext] with the background context.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects as [net.Dialer.DialContext] does and returns the same
// [*net.TCPConn]. Networks other than tcp, tcp4 and tcp6 are dialed without a
// policy.
//
// An invalid Config returns an error before anything is dialed. An option that
// the system refuses returns an error that names it.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := d.Config.Validate(); err != nil {
		return nil, err
	}
	if !isTCP(network) {
		if d.NetDialer == nil {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		return d.NetDialer.DialContext(ctx, network, address)
	}
	return dial(ctx, copyDialer(d.NetDialer), d.Config, network, address)
}

// DialFunc is the type of the dial functions that most clients accept, such as
// DialContext of [net/http.Transport], DialFunc of pgconn and WithContextDialer
// of gRPC.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// WrapDial returns a dial function that applies c to the connections of dial,
// as [Config.Apply] does. It is for dialers that are not a [net.Dialer], such
// as a TLS dialer or a tunnel. The system defaults are read once, by WrapDial, or
// by the dial function if WrapDial could not read them.
//
// If c cannot be applied, the connection is closed and the error returned. An
// invalid c returns an error before anything is dialed. Networks other than
// tcp, tcp4 and tcp6 pass through.
//
// The connections of some proxies hide their socket, such as those of
// golang.org/x/net/proxy. There, wrap the function that dials the proxy, or use
// a [Dialer].
func (c Config) WrapDial(dial DialFunc) DialFunc {
	invalid := c.Validate()
	if dial == nil {
		invalid = errors.New("keepalive: WrapDial needs a dial function, got nil")
	}
	resolved, unresolved := resolve(c)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if invalid != nil {
			return nil, invalid
		}
		if !isTCP(network) {
			return dial(ctx, network, address)
		}
		policy, err := resolved, unresolved
		if err != nil { // which may have passed
			policy, err = resolve(c)
		}
		if err != nil {
			return nil, err
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return conn, err
		}
		if err := applyNew(conn, policy); err != nil {
			if conn != nil {
				conn.Close()
			}
			return nil, fmt.Errorf("dial %s %s: %w", network, address, err)
		}
		return conn, nil
	}
}

// applyNew applies the resolved c to a connection that was just made.
func applyNew(conn net.Conn, c Config) error {
	socket, err := unwrap(conn)
	if err != nil {
		return err
	}
	return setConnected(socket, c)
}
