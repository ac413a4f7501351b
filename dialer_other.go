//go:build !linux || keepalive_portable

package keepalive

import (
	"context"
	"fmt"
	"net"
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
