package clients

import (
	"context"
	"net"

	"golang.org/x/net/proxy"
)

// SOCKS5 connects to address through a proxy. The policy of the dialer applies
// to the connection to the proxy.
func SOCKS5(ctx context.Context, proxyAddress, address string, dialer proxy.Dialer) (net.Conn, error) {
	socks, err := proxy.SOCKS5("tcp", proxyAddress, nil, dialer)
	if err != nil {
		return nil, err
	}
	return socks.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
}
