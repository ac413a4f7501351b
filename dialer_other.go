//go:build !linux || keepalive_portable

package keepalive

import (
	"context"
	"fmt"
	"net"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// dial sets c after connecting: net has no call that does so before.
func dial(ctx context.Context, nd *net.Dialer, c Config, network, address string) (net.Conn, error) {
	if err := checkSupported(c, true); err != nil {
		return nil, err
	}
	conn, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := applyNew(conn, c); err != nil {
		conn.Close()
		return nil, fmt.Errorf("dial %s %s: %w", network, address, err)
	}
	return conn, nil
}

// setOnDial has net set c once it has connected.
func setOnDial(nd *net.Dialer, c Config) (err error) {
	nd.KeepAliveConfig, err = carried(c)
	return err
}

// carried returns c for the KeepAliveConfig of a net.Dialer or net.ListenConfig
// whose KeepAlive is -1. These set no timing unless they turn keepalive on.
func carried(c Config) (net.KeepAliveConfig, error) {
	if err := checkSupported(c, true); err != nil {
		return net.KeepAliveConfig{}, err
	}
	if option := firstOption(c); c.Disable && option != "" {
		return net.KeepAliveConfig{}, sockopt.Unsupported(option, option+" by net without SO_KEEPALIVE")
	}
	return netConfig(c), nil
}
