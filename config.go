package keepalive

import (
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// Config is the keepalive policy of one TCP socket.
//
// The zero Config turns keepalive on with the system's timing. On Linux that is
// tcp_keepalive_time, tcp_keepalive_intvl and tcp_keepalive_probes of tcp(7):
// 7200 s, 75 s and 9 unless the operator changed them.
//
// A setting that the system does not support returns an error that names the
// option and matches [errors.ErrUnsupported]. Linux supports every field,
// MaxRTO since 6.15. Unsupported are:
//
//   - UserTimeout and MaxRTO, on every other system
//   - Idle, Interval and Count, on OpenBSD
//   - Interval and Count, on Plan 9, where Idle is the period of all probes
//   - Interval without Count and Count without Interval, on Solaris
//   - Idle without Interval and Interval without Idle, on Windows before
//     10.0.16299, and Count before 10.0.15063
//   - Disable, on Plan 9 for connections that other code opened, and where
//     net.inet.tcp.always_keepalive is set, the default of FreeBSD
//   - everything but Disable, for GOOS=js and wasip1, which have no keepalive
type Config struct {
	// Disable turns SO_KEEPALIVE off: no probes are sent. The other fields
	// are still set, and take effect once keepalive is turned on.
	Disable bool

	// Idle is how long a connection is silent before the first probe:
	// TCP_KEEPIDLE, 1 s to 32767 s, rounded up to a second. Zero selects
	// the system default.
	Idle time.Duration

	// Interval is the time between probes: TCP_KEEPINTVL, 1 s to 32767 s,
	// rounded up to a second. Zero selects the system default.
	Interval time.Duration

	// Count is the number of unanswered probes after which the kernel
	// closes the connection: TCP_KEEPCNT, 1 to 127. Zero selects the system
	// default. A UserTimeout replaces Count.
	Count int

	// UserTimeout is TCP_USER_TIMEOUT (RFC 5482). It closes connections to
	// live peers: on Linux since 5.11 a peer that reads slowly, or pauses
	// twice, is given up although it answers and reads. Senders of bulk
	// data are at risk, such as a replication primary or a proxy. Prefer
	// MaxRTO where the kernel has it. See
	// docs/kernel.md#user-timeout-live-peers.
	//
	// UserTimeout is how long transmitted data may stay unacknowledged
	// before the kernel closes the connection, counted from the first
	// retransmission: 1 ms to 2147483647 ms, rounded up to a millisecond.
	// Zero is off. Data to a dead peer is then retransmitted for about 15
	// minutes, see [Config.UnackedTime].
	//
	// UserTimeout also replaces Count: an idle connection is closed in
	// place of the first probe that is due at or after UserTimeout. It also
	// bounds connecting. See docs/kernel.md#user-timeout.
	UserTimeout time.Duration

	// MaxRTO is the longest time between two retransmissions of data in
	// flight: TCP_RTO_MAX_MS (Linux 6.15), 1 s to 120 s, rounded up to a
	// millisecond, and by the kernel to its tick of up to 10 ms. Zero
	// leaves the option as it is. A new socket has tcp_rto_max_ms, 120 s by
	// default.
	//
	// The kernel gives up after tcp_retries2 retransmissions, so MaxRTO
	// bounds how long a peer that dies with data in flight goes unnoticed:
	// see [Config.UnackedTime]. A live peer that reads slowly or stops
	// reading is spared. After an outage of the path, data moves again
	// within MaxRTO. A small MaxRTO costs retransmissions on a slow path.
	// See docs/kernel.md#max-rto.
	MaxRTO time.Duration
}

// Validate returns an error for the first field that no socket accepts. The
// error names the field, the value and the range. Every function that sets a
// Config calls Validate before it does anything else.
func (c Config) Validate() error {
	if err := policy.Config(c).Validate(); err != nil {
		return fmt.Errorf("keepalive: %w", err)
	}
	return nil
}

// Effective returns c with zero Idle, Interval and Count replaced by those of
// [SystemDefaults].
func (c Config) Effective() Config { return Config(policy.Config(c).Effective()) }

// SystemDefaults returns the policy of a socket on which no option was set.
//
// On Linux Idle, Interval and Count are read from
// /proc/sys/net/ipv4/tcp_keepalive_{time,intvl,probes}, in the network
// namespace of the calling thread. A value that cannot be read there, or that
// no socket accepts, is read from a new socket. If no socket can be made, it is
// the value that was read last, and before any was read the kernel's own 7200 s,
// 75 s or 9. A sysctl may hold a value that no socket accepts. SystemDefaults returns it, and [Config.Validate]
// refuses it. See docs/kernel.md#system-defaults.
//
// On other systems the values are those of the system's documentation, whatever
// the operator has set.
func SystemDefaults() Config { return Config(policy.SystemDefaults()) }
