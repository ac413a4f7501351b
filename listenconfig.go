package keepalive

import (
	"context"
	"net"
)

// ListenConfig opens listeners whose connections have a keepalive policy. It is
// safe for concurrent use while its fields do not change.
type ListenConfig struct {
	// NetListenConfig opens the listeners. It is not modified: a copy of
	// it listens, without its KeepAlive and KeepAliveConfig. Its Control
	// runs before Config is set. A nil NetListenConfig is equivalent to the
	// zero net.ListenConfig.
	NetListenConfig *net.ListenConfig

	// Config is set on the listening socket, from which accepted
	// connections inherit it on Linux. On other systems it is set on each
	// accepted connection.
	Config Config
}

// Listen listens as [net.ListenConfig.Listen] does. On Linux it returns the
// same [*net.TCPListener], and accepting a connection costs no system call for
// the policy. On other systems it returns a [*Listener], and under gVisor,
// whose accepted sockets inherit nothing. Networks other than tcp, tcp4 and
// tcp6 are listened on as NetListenConfig would.
//
// The listener is plain TCP even where net would open an MPTCP one: on Linux
// MPTCP has no TCP_USER_TIMEOUT, and an idle connection dies a minute later
// than its policy says (net.mptcp.close_timeout). For MPTCP, open a listener
// and use [NewListener].
//
// An invalid Config returns an error before anything is opened.
func (lc *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if err := lc.Config.Validate(); err != nil {
		return nil, err
	}
	var nlc net.ListenConfig
	if lc.NetListenConfig != nil {
		nlc = *lc.NetListenConfig
	}
	if !isTCP(network) {
		return nlc.Listen(ctx, network, address)
	}
	// Otherwise net sets its own timing over what was inherited.
	nlc.KeepAlive, nlc.KeepAliveConfig = -1, net.KeepAliveConfig{}
	nlc.SetMultipathTCP(false)
	return listen(ctx, &nlc, lc.Config, network, address)
}
