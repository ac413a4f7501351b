// Package keepalive sets the keepalive policy of a single TCP socket.
//
// Firewalls, NATs and load balancers forget idle connections without telling
// either end. Keepalive probes keep their state fresh and detect a dead peer,
// but Linux configures them for the whole machine, and Go's net package
// overwrites that with 15 s / 15 s / 9 on every connection and drops errors.
// This package sets the options of one socket. What it sets is what the kernel
// does, or it returns an error:
//
//	d := &keepalive.Dialer{Config: keepalive.Config{
//		Idle:     60 * time.Second, // silence before the first probe
//		Interval: 5 * time.Second,  // between probes
//		Count:    3,                // unanswered probes until the peer is dead
//	}}
//	conn, err := d.Dial("tcp", "replica.example:5432")
//
// [Dialer] and [ListenConfig] set the options as the socket connects or listens.
// On Linux an accepted connection then costs no system call.
// [Config.Apply], [Config.WrapDial] and [NewListener] set them on connections
// that somebody else opened. [Get] reads back what the kernel holds. [Stat]
// tells whether the peer still answers, and [IsPeerLost] whether an error says
// that the kernel has given the peer up. [Parse] reads a Config from text.
//
// A zero field selects the system default, whichever function sets it, so that
// the operator's sysctl counts again.
//
// On systems other than Linux the package uses net, which supports less: see
// [Config].
//
// Keepalive probes are sent only while no data is in flight.
// [Config.UserTimeout] bounds the time that data may go unacknowledged.
package keepalive

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// Config is the keepalive policy of one TCP socket.
//
// The zero Config turns keepalive on with the system's timing, which on Linux
// is tcp_keepalive_time, tcp_keepalive_intvl and tcp_keepalive_probes of
// tcp(7): 7200 s, 75 s and 9 unless the operator changed them.
//
// A setting that the system does not support returns an error that names the
// option and matches [errors.ErrUnsupported], before anything happens where
// that is known. Linux supports all of them, MaxRTO since 6.15. Unsupported
// are:
//
//   - UserTimeout and MaxRTO, on every other system
//   - Idle, Interval and Count, on OpenBSD
//   - Interval and Count, on Plan 9, where Idle is the period of all probes
//   - Interval without Count and Count without Interval, on Solaris
//   - Idle without Interval and Interval without Idle, on Windows before
//     10.0.16299, and Count before 10.0.15063
//   - Disable, on Plan 9 for connections that somebody else opened, and where
//     net.inet.tcp.always_keepalive is set, the default of FreeBSD
//   - everything but Disable, for GOOS=js and wasip1, which have no keepalive
//
// Other systems may refuse values that Linux accepts. That is an error too.
type Config struct {
	// Disable turns SO_KEEPALIVE off: no probes are sent. The other fields
	// are still set, and take effect once somebody turns keepalive on.
	Disable bool

	// Idle is how long the connection is silent before the first probe:
	// TCP_KEEPIDLE, 1 s to 32767 s, rounded up to a second. Zero selects
	// the system default.
	Idle time.Duration

	// Interval is the time between probes: TCP_KEEPINTVL, 1 s to 32767 s,
	// rounded up to a second. Zero selects the system default.
	Interval time.Duration

	// Count is the number of unanswered probes after which the kernel ends
	// the connection: TCP_KEEPCNT, 1 to 127. Zero selects the system
	// default. Count has no effect with a UserTimeout.
	Count int

	// UserTimeout is how long data may stay unacknowledged before the
	// kernel ends the connection: TCP_USER_TIMEOUT (RFC 5482), up to
	// 2147483647 ms, rounded up to a millisecond. Zero is off: data in
	// flight to a dead peer is then retransmitted for about 15 minutes
	// (tcp_retries2).
	//
	// The time counts from the first retransmission. ICMP errors from
	// routers can make it half as long again over IPv4 (tcp_ld_RTO_revert
	// in net/ipv4/tcp_ipv4.c). The table in docs/faults.md shows how it
	// ends.
	//
	// UserTimeout has three more effects on Linux. An idle connection ends
	// at the first probe that is due at or after UserTimeout, whatever
	// Count says. A live peer that stops reading is given up as well, once
	// its window has been closed for that long. Connecting is bounded too,
	// although tcp(7) says that it is not.
	UserTimeout time.Duration

	// MaxRTO is the longest time between two retransmissions of data in
	// flight: TCP_RTO_MAX_MS (Linux 6.15), 1 s to 120 s, rounded up to a
	// millisecond, and by the kernel to its tick of up to 10 ms. Zero
	// leaves the option as it is, which is tcp_rto_max_ms on a new socket,
	// 120 s by default.
	//
	// The kernel gives up after tcp_retries2 retransmissions, so MaxRTO
	// bounds the time that data to a dead peer goes unnoticed: see
	// [Config.UnackedTime], and for a peer that retracts its window the
	// exception there. Unlike UserTimeout it spares a live peer that
	// stops reading. It also bounds how long data waits for the next
	// retransmission once a path that was cut off is back. On a path that
	// is only slow it costs retransmissions.
	MaxRTO time.Duration
}

// An option is a TCP option and the field of Config that holds its value.
type option struct {
	sockopt.Option
	field string // of Config
	key   string // in the text form of Config

	unit     time.Duration // of the socket option, 1 where it is a plain number
	min, max int           // what a socket accepts, in units
	zero     zeroField
	unset    int // what a socket holds that stands for a zero field

	sysctl string // below net.ipv4, holds the default that systemDefault selects

	get func(Config) int64 // in nanoseconds, or the plain number
	set func(Config, int64) Config
}

// zeroField is what a zero field selects.
type zeroField string

const (
	systemDefault zeroField = "the system default"
	off           zeroField = "off"
	unchanged     zeroField = "no change"
)

// maxSeconds is MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of include/net/tcp.h.
const maxSeconds = 32767

// options holds a row for each option, in the order of the fields of Config.
//
// The maximum of Count is MAX_TCP_KEEPCNT. TCP_USER_TIMEOUT is an int. The
// range of TCP_RTO_MAX_MS is that of do_tcp_setsockopt in net/ipv4/tcp.c, from
// TCP_RTO_MAX_MIN_SEC to TCP_RTO_MAX_SEC.
var options = [...]option{
	{
		Option: sockopt.KeepIdle, field: "Idle", key: "idle",
		unit: time.Second, min: 1, max: maxSeconds,
		zero: systemDefault, sysctl: "tcp_keepalive_time",
		get: func(c Config) int64 { return int64(c.Idle) },
		set: func(c Config, v int64) Config { c.Idle = time.Duration(v); return c },
	},
	{
		Option: sockopt.KeepIntvl, field: "Interval", key: "interval",
		unit: time.Second, min: 1, max: maxSeconds,
		zero: systemDefault, sysctl: "tcp_keepalive_intvl",
		get: func(c Config) int64 { return int64(c.Interval) },
		set: func(c Config, v int64) Config { c.Interval = time.Duration(v); return c },
	},
	{
		Option: sockopt.KeepCnt, field: "Count", key: "count",
		unit: 1, min: 1, max: 127,
		zero: systemDefault, sysctl: "tcp_keepalive_probes",
		get: func(c Config) int64 { return int64(c.Count) },
		set: func(c Config, v int64) Config { c.Count = int(v); return c },
	},
	{
		Option: sockopt.UserTimeout, field: "UserTimeout", key: "user_timeout",
		unit: time.Millisecond, min: 1, max: math.MaxInt32,
		zero: off,
		get:  func(c Config) int64 { return int64(c.UserTimeout) },
		set:  func(c Config, v int64) Config { c.UserTimeout = time.Duration(v); return c },
	},
	{
		Option: sockopt.MaxRTO, field: "MaxRTO", key: "max_rto",
		unit: time.Millisecond, min: 1000, max: 120000,
		zero: unchanged, unset: 120000,
		get: func(c Config) int64 { return int64(c.MaxRTO) },
		set: func(c Config, v int64) Config { c.MaxRTO = time.Duration(v); return c },
	},
}

// withValue returns c with the field set to a value of the option.
func (o *option) withValue(c Config, value int) Config {
	return o.set(c, int64(value)*int64(o.unit))
}

func (o *option) accepts(value int64) bool { return int64(o.min) <= value && value <= int64(o.max) }

// format returns a value of the field as text.
func (o *option) format(v int64) string {
	if o.unit == 1 {
		return strconv.FormatInt(v, 10)
	}
	return time.Duration(v).String()
}

// parse is the reverse of format.
func (o *option) parse(s string) (int64, error) {
	if o.unit == 1 {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("want a number from %d to %d", o.min, o.max)
		}
		return int64(n), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w, want a duration such as 1m", err)
	}
	return int64(d), nil
}

func (o *option) validate(c Config) error {
	v := o.get(c)
	if v == 0 || v > 0 && o.accepts(roundUp(time.Duration(v), o.unit)) {
		return nil
	}
	limit := o.format(int64(o.max) * int64(o.unit))
	if o.unit != 1 {
		limit += fmt.Sprintf(" (%d %s)", o.max, o.unit.String()[1:])
	}
	return fmt.Errorf("%s is %s, want %s to %s, or 0 for %s",
		o.field, o.format(v), o.format(int64(o.min)*int64(o.unit)), limit, o.zero)
}

// roundUp returns d in units. A time that is rounded down could become zero,
// which the kernel refuses or takes for "off".
func roundUp(d, unit time.Duration) int64 {
	n := d / unit
	if d%unit > 0 {
		n++
	}
	return int64(n)
}

// Validate returns an error for the first field that no socket accepts. It
// names the field, the value and the range. What sets a Config or writes it as
// text calls Validate before anything else, except for [Config.String].
func (c Config) Validate() error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("keepalive: %w", err)
	}
	return nil
}

func (c Config) validate() error {
	for i := range options {
		if err := options[i].validate(c); err != nil {
			return err
		}
	}
	return nil
}

// Effective returns c with zero Idle, Interval and Count filled in from
// [SystemDefaults].
func (c Config) Effective() Config {
	if c.Idle != 0 && c.Interval != 0 && c.Count != 0 {
		return c
	}
	effective, system := c, SystemDefaults()
	for i := range options {
		if o := &options[i]; o.zero == systemDefault && o.get(c) == 0 {
			effective = o.set(effective, o.get(system))
		}
	}
	return effective
}

// SystemDefaults returns the policy of a socket whose options nobody has set.
//
// On Linux Idle, Interval and Count are read from
// /proc/sys/net/ipv4/tcp_keepalive_{time,intvl,probes}, in the network
// namespace of the calling thread. What can't be read there, or is a value that
// no socket accepts, is asked of a new socket. Where none can be made it is the
// kernel's own 7200 s, 75 s or 9. The kernel lets an operator set values that
// no socket accepts. They are returned as they are and are invalid in a Config.
//
// On other systems the values are those of the system's documentation,
// whatever an operator has set.
func SystemDefaults() Config {
	return systemDefaults()
}

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

// readOptions returns the policy that the socket fd holds. TCP options come
// first: other sockets than TCP's have SO_KEEPALIVE.
func readOptions(fd uintptr) (c Config, err error) {
	for i := range options {
		o := &options[i]
		value, err := o.Get(fd)
		if err != nil && (o.zero == systemDefault || !errors.Is(err, errors.ErrUnsupported)) {
			return c, err
		}
		if value != o.unset {
			c = o.withValue(c, value)
		}
	}
	on, err := sockopt.KeepAlive.Get(fd)
	c.Disable = on == 0 // the BSDs and macOS return 8 for on
	return c, err
}

// GetListener returns the policy that a listening socket holds, such as one
// that a systemd unit or a parent process has set. Disable says that keepalive
// is off. [NewListener] with this Config sets it on every connection. Without
// that, net sets its own timing on the connections of a [net.FileListener].
//
// The socket is that of ln's SyscallConn method, or of the listener within a
// [*Listener]. The error matches [errors.ErrUnsupported] where ln has none,
// where it is no TCP socket, and where [Get] is unsupported. It matches
// [net.ErrClosed] where ln is closed.
func GetListener(ln net.Listener) (Config, error) {
	if ln == nil {
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
