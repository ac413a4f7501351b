package keepalive

import (
	"context"
	"net"
)

// ListenConfig opens listeners whose connections have a keepalive policy. It is
// safe for concurrent use as long as its fields do not change.
type ListenConfig struct {
	// NetListenConfig opens the listeners. A copy of it listens, without
	// its KeepAlive and KeepAliveConfig. Its Control runs before Config is
	// set. A nil NetListenConfig is equivalent to the zero
	// net.ListenConfig.
	NetListenConfig *net.ListenConfig

	// Config is set on the listening socket. On Linux accepted connections
	// inherit it. On other systems it is set on each accepted connection.
	Config Config
}

// Listen listens as [net.ListenConfig.Listen] does. On Linux it returns the
// same [*net.TCPListener], and accepted connections inherit the policy without
// a system call. On other systems and under gVisor it returns a [*Listener].
// Networks other than tcp, tcp4 and tcp6 are listened on without a policy.
//
// With net.ipv4.tcp_migrate_req a connection of a closed SO_REUSEPORT listener
// moves to another one and keeps the policy of the first. [NewListener] sets
// the policy on these too. See docs/kernel.md#listener-migration.
//
// The listener is plain TCP even where net would open an MPTCP one, since MPTCP
// has neither UserTimeout nor MaxRTO and notices a dead peer later: see
// docs/kernel.md#mptcp. For MPTCP, open a listener and use NewListener.
//
// An invalid Config returns an error before anything is opened.
func (lc *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if err := lc.Config.Validate(); err != nil {
		return nil, err
	}
	if !isTCP(network) {
		if lc.NetListenConfig == nil {
			return new(net.ListenConfig).Listen(ctx, network, address)
		}
		return lc.NetListenConfig.Listen(ctx, network, address)
	}
	nlc := copyListenConfig(lc.NetListenConfig)
	nlc.SetMultipathTCP(false)
	return listen(ctx, nlc, lc.Config, network, address)
}
