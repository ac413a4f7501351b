//go:build !linux || keepalive_portable

package keepalive

import (
	"context"
	"net"
)

// listen leaves the listening socket alone: SO_KEEPALIVE breaks it on macOS and
// the BSDs.
func listen(ctx context.Context, nlc *net.ListenConfig, c Config, network, address string) (net.Listener, error) {
	if err := checkSupported(c, true); err != nil {
		return nil, err
	}
	ln, err := nlc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &Listener{inner: ln, config: c}, nil
}

// setOnListen has net set c on accepted connections.
func setOnListen(nlc *net.ListenConfig, c Config) (err error) {
	nlc.KeepAliveConfig, err = carried(c)
	return err
}
