package keepalive

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Control sets c on a socket that is neither connected nor listening yet. It
// fits the Control fields of [net.Dialer] and [net.ListenConfig].
//
// net.Dialer{Control: c.Control} without KeepAlive: -1 holds 15 s, 15 s and 9,
// which net writes over c after it has connected, and the UserTimeout of c. Use
// [Config.NetDialer] and [Config.NetListenConfig], which switch that off.
//
// Control always sets SO_KEEPALIVE, and the other options where their field is
// not zero. An option that is not set follows its sysctl. On networks other
// than tcp, tcp4 and tcp6 Control does nothing.
//
// A connection from a simultaneous open is never probed, see
// docs/kernel.md#simultaneous-open. A [Dialer] avoids that.
//
// An error names the option, wraps the errno, and matches
// [errors.ErrUnsupported] where the system lacks the option.
//
// On other systems than Linux Control supports {Disable: true} alone, since it
// cannot tell whether the socket will listen, and SO_KEEPALIVE breaks listening
// sockets on macOS and the BSDs. [Dialer] and [ListenConfig] work there.
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
// connection by [syscall.Conn] and by NetConn methods such as that of
// [crypto/tls.Conn].
//
// A zero Idle, Interval or Count is set to the value of [SystemDefaults], or is
// an error if that is unknown. A zero UserTimeout is set to off. A zero MaxRTO,
// and on other systems than Linux every zero field, changes nothing.
//
// A silent peer is noticed within DetectionTime of its last segment, or of the
// call if that is later. Probes already unanswered count toward the new Count.
// Data in flight waits for the retransmission timer that is armed, up to two
// minutes. See docs/kernel.md#open-connections, also for concurrent calls.
//
// If the socket lacks an option, Apply returns an error and changes nothing. It
// returns nil for a connection that the kernel has closed. The error matches
// [errors.ErrUnsupported] if conn is no TCP connection or lacks an option, and
// [net.ErrClosed] if conn is closed.
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

// Get returns the policy that the kernel holds for conn, with Idle, Interval
// and Count filled in. A zero UserTimeout is off. A zero MaxRTO is 120 s, the
// kernel's default, or the kernel lacks the option.
//
// Applying the result to the same connection changes none of its options. From
// then on the connection no longer follows a sysctl. A sysctl value that no
// socket accepts is returned as it is, and Apply refuses it.
//
// Get finds the socket as [Config.Apply] does, and returns the same errors.
// UserTimeout and MaxRTO are zero where this package cannot set them. Get is
// unsupported on AIX, illumos, OpenBSD, Plan 9 and Solaris, on Windows before
// 10.0.16299, and for GOOS=js and wasip1.
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
