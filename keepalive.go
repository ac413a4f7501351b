// Package keepalive gives one TCP socket its own keepalive policy, and proves
// that the kernel holds it.
//
// Firewalls, NATs and load balancers forget idle connections without telling
// either end. Keepalive probes keep their state fresh and notice a dead peer,
// but Linux configures them for the whole machine, and Go's net package writes
// 15 s / 15 s / 9 over that on every connection and drops the errors. This
// package sets the options of one socket, and what it sets is what the kernel
// does, or there is an error:
//
//	d := &keepalive.Dialer{Config: keepalive.Config{
//		Idle:     60 * time.Second, // silence before the first probe
//		Interval: 5 * time.Second,  // between probes
//		Count:    3,                // unanswered probes until the peer is dead
//	}}
//	conn, err := d.Dial("tcp", "replica.example:5432")
//
// [Dialer] and [ListenConfig] tune sockets before they connect or listen; on
// Linux an accepted connection then costs no system call. [Config.Apply],
// [Config.WrapDial] and [NewListener] tune connections that somebody else
// opened. [Get] reads back what the kernel holds. [Stat] tells whether the peer
// still answers, and [IsPeerLost] whether an error says that the kernel has
// given it up. [Parse] reads a Config from text.
//
// A zero field means the system's default on all of these ways, so that the
// operator's sysctl counts again.
//
// On systems other than Linux all of it goes through net, as far as net can:
// see [Config].
//
// Keepalive probes are sent only while nothing is in flight. What bounds the
// time that data may go unacknowledged is [Config.UserTimeout].
package keepalive

import (
	"errors"
	"fmt"
	"math"
	"net"
	"syscall"
	"time"
)

// Linux accepts no more than this: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and
// MAX_TCP_KEEPCNT in include/net/tcp.h; TCP_USER_TIMEOUT is an int of
// milliseconds.
const (
	maxSeconds     = 32767
	maxCount       = 127
	maxUserTimeout = math.MaxInt32 * time.Millisecond
)

// Config is the keepalive policy of one TCP socket.
//
// The zero Config turns keepalive on with the system's timing, which on Linux
// is tcp_keepalive_time, tcp_keepalive_intvl and tcp_keepalive_probes of
// tcp(7): 7200 s, 75 s and 9 unless the operator changed them.
//
// What a system other than Linux can't do is an error that names the system and
// the option and matches [errors.ErrUnsupported], before anything happens where
// that is known:
//
//   - UserTimeout, everywhere
//   - Idle, Interval and Count, on OpenBSD; Interval and Count, on Plan 9, where
//     Idle is the period of all probes; Interval without Count and Count without
//     Interval, on Solaris
//   - Disable, on Plan 9 for connections that somebody else opened, and while
//     net.inet.tcp.always_keepalive is set, as FreeBSD has it by default
//   - everything but Disable, for GOOS=js and wasip1, which have no keepalive
//
// Values that Linux accepts may be out of range elsewhere: that too is an
// error.
type Config struct {
	// Disable turns SO_KEEPALIVE off: no probes are sent. The other fields
	// still apply to the socket, and count once somebody turns it on.
	Disable bool

	// Idle is how long the connection is silent before the first probe:
	// TCP_KEEPIDLE. It is rounded up to a second and goes from 1 s to 32767 s.
	// Zero is the system's default.
	Idle time.Duration

	// Interval is the time between probes: TCP_KEEPINTVL. It is rounded up
	// to a second and goes from 1 s to 32767 s. Zero is the system's default.
	Interval time.Duration

	// Count is how many probes go unanswered before the kernel ends the
	// connection: TCP_KEEPCNT, from 1 to 127. Zero is the system's default.
	// A UserTimeout takes its place.
	Count int

	// UserTimeout is how long data may stay unacknowledged before the kernel
	// ends the connection: TCP_USER_TIMEOUT (RFC 5482). It is rounded up to a
	// millisecond and goes up to 2147483647 ms. Zero is off: without it
	// data in flight to a dead peer is retransmitted for about 15 minutes
	// (tcp_retries2).
	//
	// The time counts from the first retransmission, and docs/faults.md shows
	// how it ends. Routers that answer with ICMP errors can make it half as
	// long again over IPv4 (tcp_ld_RTO_revert in net/ipv4/tcp_ipv4.c).
	//
	// It has three more effects on Linux. An idle connection ends at the
	// first probe that is due at or after UserTimeout, whatever Count says.
	// A live peer that stops reading is given up as well, once its window
	// has been closed for so long. And it bounds connecting too, although
	// tcp(7) says that it does not.
	UserTimeout time.Duration
}

// Validate reports the first field that no socket accepts, with its value and
// range. What opens, dials or sets anything in this package validates its Config
// before that.
func (c Config) Validate() error {
	if err := validateSeconds("Idle", c.Idle); err != nil {
		return err
	}
	if err := validateSeconds("Interval", c.Interval); err != nil {
		return err
	}
	if c.Count < 0 || c.Count > maxCount {
		return fmt.Errorf("keepalive: Count is %d, want 1 to %d, or 0 for the system's default", c.Count, maxCount)
	}
	if c.UserTimeout < 0 || c.UserTimeout > maxUserTimeout {
		return fmt.Errorf("keepalive: UserTimeout is %v, want 1ms to %v (%d ms), or 0 for off",
			c.UserTimeout, maxUserTimeout, math.MaxInt32)
	}
	return nil
}

func validateSeconds(field string, d time.Duration) error {
	if d < 0 || d > maxSeconds*time.Second {
		return fmt.Errorf("keepalive: %s is %v, want 1s to %v (%d s), or 0 for the system's default",
			field, d, maxSeconds*time.Second, maxSeconds)
	}
	return nil
}

// ceil returns d in units. It rounds up, because a time that is rounded down
// could become zero, which the kernel refuses or takes for "off".
func ceil(d, unit time.Duration) int64 {
	n := d / unit
	if d%unit > 0 {
		n++
	}
	return int64(n)
}

// Effective returns c with zero Idle, Interval and Count filled in from
// [SystemDefaults].
func (c Config) Effective() Config {
	if c.Idle != 0 && c.Interval != 0 && c.Count != 0 {
		return c
	}
	system := SystemDefaults()
	if c.Idle == 0 {
		c.Idle = system.Idle
	}
	if c.Interval == 0 {
		c.Interval = system.Interval
	}
	if c.Count == 0 {
		c.Count = system.Count
	}
	return c
}

// SystemDefaults returns what a socket does whose options nobody has set.
//
// On Linux Idle, Interval and Count are read from
// /proc/sys/net/ipv4/tcp_keepalive_{time,intvl,probes}, in the network
// namespace of the calling thread; what can't be read is the kernel's own
// 7200 s, 75 s or 9. The kernel lets an operator write values there that no
// socket accepts: they are returned as they stand, and are invalid in a Config.
//
// On other systems they are what the system's documentation gives, whatever an
// operator has made of it.
func SystemDefaults() Config {
	return systemDefaults()
}

// Control sets c on a socket that is not connected and does not listen yet. It
// fits the Control fields of [net.Dialer] and [net.ListenConfig]; what
// [Dialer] and [ListenConfig] do beyond calling it is to keep net from
// overwriting c afterwards, for which these fields need KeepAlive: -1.
//
// SO_KEEPALIVE is always written, the other options only where their field is
// not zero; those that are left alone follow the sysctl, live. Networks other
// than tcp, tcp4 and tcp6 are left alone.
//
// An error names the option, wraps the errno, and matches
// [errors.ErrUnsupported] where the system lacks the option.
//
// On systems other than Linux it is such an error for every Config but {Disable:
// true}, where that is to be had, the zero Config included: keepalive on a socket that is about to listen
// is the end of it on macOS and the BSDs, and Control is not told which sockets
// are. [Dialer] and [ListenConfig] work there.
func (c Config) Control(network, address string, rc syscall.RawConn) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if !isTCP(network) {
		return nil
	}
	return setFresh(rc, c)
}

func isTCP(network string) bool {
	return network == "tcp" || network == "tcp4" || network == "tcp6"
}

// Apply sets c on an open connection, however wrapped: it looks for the socket
// through [syscall.Conn] and through NetConn methods such as that of
// [crypto/tls.Conn].
//
// Every option is settled. Zero fields are written as [SystemDefaults] gives
// them, since net has set options of its own by then, and the kernel has no way
// to unset one. A default that no socket accepts is an error that names the
// sysctl. An option that is refused leaves the socket as it was. To apply what
// the socket holds already does not disturb it: an Idle that is there already is
// not written again, so that one that follows the sysctl goes on doing so.
//
// On systems other than Linux zero fields are left as they are, which on
// connections that net opened is 15 s, 15 s and 9 unless it was told otherwise: net
// can't read a default. Options that were written before one was refused stay.
//
// The error matches [errors.ErrUnsupported] where conn is no TCP connection or
// the system lacks an option, and [net.ErrClosed] where conn is closed.
func (c Config) Apply(conn net.Conn) error {
	if err := c.Validate(); err != nil {
		return err
	}
	s, err := settle(c)
	if err != nil {
		return err
	}
	return apply(conn, s)
}

func apply(conn net.Conn, c settled) error {
	sc, err := socket(conn)
	if err != nil {
		return err
	}
	return setOpen(sc, c)
}

// Get returns the policy that the kernel holds for conn now, every field
// filled in; a zero UserTimeout is off. To [Config.Apply] it to the same
// connection changes none of this, but keeps an Interval and a Count from
// following the sysctl later on. A sysctl that no socket accepts is returned as it
// stands, and is an error of Apply. Get finds the socket as Apply does, with the
// same errors. On systems other than Linux it always is an error: net reads no socket
// options.
func Get(conn net.Conn) (Config, error) {
	sc, err := socket(conn)
	if err != nil {
		return Config{}, err
	}
	return get(sc)
}

// socket looks for the socket within conn. It uses neither reflection nor
// File, which would duplicate the descriptor.
func socket(conn net.Conn) (syscall.Conn, error) {
	inner := conn
	for range 16 { // more would be a NetConn that leads back
		switch c := inner.(type) {
		case syscall.Conn:
			return c, nil
		case interface{ NetConn() net.Conn }:
			inner = c.NetConn()
		}
	}
	return nil, fmt.Errorf("keepalive: %T is no socket, nor does its NetConn method lead to one: %w", conn, errors.ErrUnsupported)
}
