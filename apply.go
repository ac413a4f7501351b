package keepalive

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Control sets c on a socket that is neither connected nor listening yet. It
// fits the Control fields of [net.Dialer] and [net.ListenConfig]. These need
// KeepAlive: -1, otherwise net overwrites c afterwards. [Dialer] and
// [ListenConfig] see to that.
//
// SO_KEEPALIVE is always set, the other options only where their field is not
// zero. An option that is not set follows its sysctl live. Networks other than
// tcp, tcp4 and tcp6 are left alone.
//
// On a connection that comes from a simultaneous open (RFC 9293, section 3.5),
// as in hole punching, the kernel does not arm the timer that was set before:
// it never probes. A [Dialer] has no such gap.
//
// An error names the option, wraps the errno, and matches
// [errors.ErrUnsupported] where the system lacks the option.
//
// On other systems Control supports at most {Disable: true}: it cannot tell
// whether the socket will listen, and SO_KEEPALIVE breaks listening sockets on
// macOS and the BSDs. [Dialer] and [ListenConfig] work there.
func (c Config) Control(network, address string, rc syscall.RawConn) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if !isTCP(network) {
		return nil
	}
	return setUnconnected(rc, c)
}

func isTCP(network string) bool {
	return network == "tcp" || network == "tcp4" || network == "tcp6"
}

// Apply sets c on an open connection. It finds the socket of a wrapped
// connection through [syscall.Conn] and through NetConn methods such as that of
// [crypto/tls.Conn].
//
// Every option is set. A zero Idle, Interval or Count is set to the value of
// [SystemDefaults], since net has set options of its own by then and the kernel
// cannot unset one. A default that no socket accepts is an error that names the
// sysctl, or with Disable leaves the option as it is. The defaults are those of
// the calling thread's network namespace, even for a connection of another one.
// A zero UserTimeout is set to off. A zero MaxRTO leaves the option as it is.
//
// An option that the socket lacks returns an error and leaves the socket as it
// was. An option that is refused for another reason, as a seccomp filter may,
// leaves those set that came before it. Concurrent calls for one connection may
// mix their policies.
//
// The policy counts from then on, whatever the connection did before: a peer
// that is silent is noticed within DetectionTime of the last segment that
// arrived from it, or of the call if that is later. Where Idle or Interval
// changes, or keepalive was off, and nothing has been heard for Idle, Apply
// sends a probe at once. Applying an equal policy sends no probe that is not
// due, unless one goes out while Apply runs. A UserTimeout or MaxRTO that is
// applied while data is in flight counts from the next retransmission.
//
// Probes that are unanswered by then count towards the new Count, and only an
// answer clears them. Where they reach Count, the connection ends in place of
// its next probe, even if the peer could answer again. With a UserTimeout one
// is enough, once that time has passed.
//
// There are two cases that Apply cannot see. Where a sysctl was lowered that the
// connection followed, and the policy equals what it follows now, the timer may
// still be armed with the old value if the peer has not been heard for Idle. It
// then counts once more. And a timer that was never armed, as [Config.Control]
// describes, is armed by an equal policy whose Interval is longer than Idle only
// once nothing has been heard for 9/8 × Interval.
//
// Apply returns nil for a connection that the peer has reset or that the kernel
// has given up: [Stat] tells.
//
// On other systems a zero field is left as it is, which on connections that
// net opened is 15 s, 15 s and 9 by default. Options that were set before one
// was refused stay set.
//
// The error matches [errors.ErrUnsupported] where conn is no TCP connection or
// the system lacks an option, and [net.ErrClosed] where conn is closed.
func (c Config) Apply(conn net.Conn) error {
	if err := c.Validate(); err != nil {
		return err
	}
	resolved, err := resolve(c)
	if err != nil {
		return err
	}
	socket, err := unwrap(conn)
	if err != nil {
		return err
	}
	return changeConnected(socket, resolved)
}

// Get returns the policy that the kernel holds for conn now, with Idle, Interval
// and Count filled in. A zero UserTimeout is off. A zero MaxRTO is 120 s, the
// kernel's default, or the kernel lacks the option. Applying the result to the
// same connection changes none of it, but keeps the connection from following a
// sysctl later. A sysctl value that no socket accepts is returned as it is, and
// Apply refuses it.
//
// Get finds the socket as Apply does, with the same errors. UserTimeout and
// MaxRTO are zero where this package can't set them. Get is unsupported on AIX,
// illumos, OpenBSD, Plan 9 and Solaris, on Windows before 10.0.16299, and for
// GOOS=js and wasip1.
func Get(conn net.Conn) (Config, error) {
	socket, err := unwrap(conn)
	if err != nil {
		return Config{}, err
	}
	return get(socket)
}

// unwrap returns the socket within conn. It uses neither reflection nor File,
// which would duplicate the descriptor.
func unwrap(conn net.Conn) (syscall.Conn, error) {
	inner := conn
	for range 16 { // a NetConn method may lead back to its own connection
		switch c := inner.(type) {
		case nil:
			return nil, errNilConn
		case *net.TCPConn:
			if c == nil { // its SyscallConn would panic
				return nil, errNilConn
			}
			return c, nil
		case syscall.Conn:
			return c, nil
		case interface{ NetConn() net.Conn }:
			inner = c.NetConn()
		default:
			return nil, noSocket(conn)
		}
	}
	return nil, noSocket(conn)
}

var errNilConn = errors.New("keepalive: got nil, want a connection")

func noSocket(conn net.Conn) error {
	return fmt.Errorf("keepalive: %T gives no access to a socket by SyscallConn or NetConn: %w", conn, errors.ErrUnsupported)
}
