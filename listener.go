package keepalive

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// Listener sets a keepalive policy on the connections of another listener.
// [NewListener] makes one. Prefer [ListenConfig], which makes no system calls
// per connection. The methods of a zero Listener return an error.
//
// Methods of the inner listener beyond those of [net.Listener], such as File
// and SetDeadline of a [*net.TCPListener], are called on the inner listener.
type Listener struct {
	inner      net.Listener
	config     Config // resolved
	unresolved error  // of config, where a listener of unix sockets does not need it
	tuned      atomic.Bool
}

// NewListener returns a Listener that accepts the connections of ln and applies
// c to them, as [Config.Apply] does. The system defaults are read once, by
// NewListener. ln itself is not changed. TLS works on either side:
// [crypto/tls.NewListener] around a Listener, and a Listener around a TLS
// listener.
//
// NewListener returns an error if c is invalid or if the connections of ln are
// known to lack an option. [net.Listen] opens an MPTCP listener on Linux where
// the kernel has MPTCP. MPTCP has no UserTimeout and no MaxRTO, and before
// Linux 6.10 no keepalive options, except in some stable releases.
// [ListenConfig] opens plain TCP. See docs/kernel.md#mptcp.
func NewListener(ln net.Listener, c Config) (*Listener, error) {
	if isNilListener(ln) {
		return nil, errors.New("keepalive: NewListener needs a listener, got nil")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	resolved, err := resolve(c)
	if err != nil && !isUnix(ln) {
		return nil, err
	}
	if addr := ln.Addr(); addr != nil && isTCP(addr.Network()) {
		if err := checkListener(innermost(ln), c); err != nil {
			return nil, err
		}
	}
	return &Listener{inner: ln, config: resolved, unresolved: err}, nil
}

// isNilListener reports whether ln is nil, or a nil pointer whose methods panic.
func isNilListener(ln net.Listener) bool {
	switch l := ln.(type) {
	case nil:
		return true
	case *net.TCPListener:
		return l == nil
	case *Listener:
		return l == nil
	}
	return false
}

// innermost returns the listener within those of this package, nil for a zero
// [Listener].
func innermost(ln net.Listener) net.Listener {
	for {
		l, ok := ln.(*Listener)
		if !ok {
			return ln
		}
		ln = l.inner
	}
}

func isUnix(ln net.Listener) bool {
	addr := ln.Addr()
	return addr != nil && (addr.Network() == "unix" || addr.Network() == "unixpacket")
}

// Addr returns the address of the inner listener, nil for a zero Listener.
func (l *Listener) Addr() net.Addr {
	if l.inner == nil {
		return nil
	}
	return l.inner.Addr()
}

// Close closes the inner listener.
func (l *Listener) Close() error {
	if l.inner == nil {
		return errZeroListener
	}
	return l.inner.Close()
}

var errZeroListener = errors.New("keepalive: zero Listener, want one of NewListener")

// Accept returns the next connection of the inner listener, with the policy
// applied. Sockets other than TCP sockets pass through.
//
// A connection that died before its options could be set is closed, and the
// next one accepted. So is a connection that lacks an option because its client
// chose MPTCP, if a wrapped listener hides that it offers MPTCP. A failure that
// every connection would meet returns an error, such as an option that the
// system lacks.
//
// A connection that hides its socket, such as one of netutil.LimitListener of
// golang.org/x/net, returns an error as long as no connection has got the
// policy. Later it is closed, and the next one accepted. Wrap such a listener
// around the Listener, not the other way round.
func (l *Listener) Accept() (net.Conn, error) {
	if l.inner == nil {
		return nil, errZeroListener
	}
	for {
		conn, err := l.inner.Accept()
		if err != nil {
			return nil, err
		}
		retry, err := l.setOptions(conn)
		if err == nil {
			return conn, nil
		}
		if conn != nil {
			conn.Close()
		}
		if !retry {
			return nil, err
		}
	}
}

// setOptions applies the policy to conn. With an error it reports whether that
// is about conn alone, so that the next connection may do better.
func (l *Listener) setOptions(conn net.Conn) (retry bool, err error) {
	socket, err := unwrap(conn)
	if err != nil {
		if isUnix(l.inner) {
			return false, nil // most likely a unix socket
		}
		return l.tuned.Load(), fmt.Errorf("%w: wrap %T around a keepalive.Listener, not the other way round", err, l.inner)
	}
	if l.unresolved != nil && isTCPSocket(socket) {
		return false, l.unresolved
	}
	err = setConnected(socket, l.config)
	if err == nil {
		l.tuned.Store(true)
		return false, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return sockopt.IsDead(err), err
	}
	if !isTCPSocket(socket) {
		return false, nil
	}
	return isMPTCPSocket(socket), err
}

// GetListener returns the policy of a listening socket, as a systemd unit or a
// parent process may have set it. Disable reports that keepalive is off.
// [NewListener] with this Config sets it on every connection. Otherwise net
// sets its own timing on the connections of a [net.FileListener].
//
// The socket is that of ln's SyscallConn method. GetListener looks inside a
// [*Listener]. The error matches [errors.ErrUnsupported] if ln has no such
// method or is no TCP socket, and where [Get] is unsupported. It matches
// [net.ErrClosed] if ln is closed.
func GetListener(ln net.Listener) (Config, error) {
	if isNilListener(ln) {
		return Config{}, errors.New("keepalive: GetListener needs a listener, got nil")
	}
	inner := innermost(ln)
	if inner == nil {
		return Config{}, errZeroListener
	}
	socket, ok := inner.(syscall.Conn)
	if !ok {
		return Config{}, fmt.Errorf("keepalive: %T gives no access to a socket by SyscallConn: %w", inner, errors.ErrUnsupported)
	}
	return get(socket)
}
