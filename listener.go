package keepalive

import (
	"context"
	"errors"
	"net"
)

// ListenConfig opens listeners whose connections have a keepalive policy of
// their own. It is safe for concurrent use while its fields stay as they are.
type ListenConfig struct {
	// NetListenConfig opens the listeners. It is not modified: a copy of
	// it listens, without its KeepAlive and KeepAliveConfig. Its Control
	// runs before Config is set. A nil NetListenConfig is the zero
	// net.ListenConfig.
	NetListenConfig *net.ListenConfig

	// Config is set on the listening socket, from which accepted
	// connections inherit it on Linux. Elsewhere it is set on each accepted
	// connection.
	Config Config
}

// Listen listens as [net.ListenConfig.Listen] does. On Linux it returns the
// same [*net.TCPListener], and to accept a connection costs no system call for
// its policy; elsewhere a [*Listener]. Networks other than tcp, tcp4 and tcp6 are
// listened on as NetListenConfig would.
//
// The listener is plain TCP even where net would open an MPTCP one: on Linux
// MPTCP has no TCP_USER_TIMEOUT, and an idle connection dies a minute later than
// its policy says (net.mptcp.close_timeout). Use [NewListener] around a
// listener of your own for MPTCP.
//
// An invalid Config is an error before anything is opened.
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
	// Otherwise net writes its own timing over what was inherited.
	nlc.KeepAlive, nlc.KeepAliveConfig = -1, net.KeepAliveConfig{}
	nlc.SetMultipathTCP(false)
	return listen(ctx, &nlc, lc.Config, network, address)
}

// Listener sets a keepalive policy on the connections of a listener that
// somebody else opened. The listener inside is left as it is. [NewListener]
// makes it. Use [ListenConfig] where you can: it spares the system calls per
// connection.
type Listener struct {
	net.Listener
	config settled
	tcp    bool // connections are said to be TCP
	unix   bool // connections have no policy to miss
}

// NewListener returns a Listener around ln. The system's defaults, and the
// options that ln's connections inherit, are read once, here. TLS goes
// around it or within: both [crypto/tls.NewListener] of a Listener and a
// Listener of a TLS listener work.
//
// It is an error if c is invalid, or if it is known already that ln's
// connections can't have it: UserTimeout on an MPTCP listener, which is what
// [net.Listen] opens on Linux where the kernel has MPTCP, and any policy on one
// before Linux 6.10.
func NewListener(ln net.Listener, c Config) (*Listener, error) {
	if ln == nil {
		return nil, errors.New("keepalive: NewListener needs a listener, got nil")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	l := &Listener{Listener: ln, tcp: true}
	if addr := ln.Addr(); addr != nil {
		l.tcp = isTCP(addr.Network())
		l.unix = addr.Network() == "unix" || addr.Network() == "unixpacket"
	}
	if l.unix {
		return l, nil
	}
	var err error
	if l.config, err = settle(c); err != nil {
		return nil, err
	}
	if l.tcp {
		l.config, err = checkListener(ln, l.config)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Accept returns the next connection, with the policy applied as
// [Config.Apply] does, as the listener inside returned it. Sockets of a network
// other than TCP pass through.
//
// A connection that died before it could be tuned is closed, and the next one
// taken. So is one that lacks an option because its client chose MPTCP, if a
// listener within hides that it offers it: no client may end the server's loop.
// What would fail for every connection, such as an option that the system lacks
// or a connection that is no socket, is an error.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		alone, err := l.tune(conn)
		if err == nil {
			return conn, nil
		}
		if conn != nil {
			conn.Close()
		}
		if !alone {
			return nil, err
		}
	}
}

// tune also reports whether an error is about conn alone, and not about every
// connection.
func (l *Listener) tune(conn net.Conn) (alone bool, err error) {
	if l.unix {
		return false, nil
	}
	sc, err := socket(conn)
	if err != nil {
		return false, err
	}
	err = setOpen(sc, l.config)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return isLost(err), err
	}
	tcp, multipath := speaks(sc)
	if !tcp && !l.tcp {
		return false, nil
	}
	return multipath, err
}
