package keepalive

import (
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
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

// Validate returns an error for the first field that no socket accepts. It
// names the field, the value and the range. What sets a Config or writes it as
// text calls Validate before anything else, except for [Config.String].
func (c Config) Validate() error {
	if err := policy.Config(c).Validate(); err != nil {
		return fmt.Errorf("keepalive: %w", err)
	}
	return nil
}

// Effective returns c with zero Idle, Interval and Count filled in from
// [SystemDefaults].
func (c Config) Effective() Config { return Config(policy.Config(c).Effective()) }

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
func SystemDefaults() Config { return Config(policy.SystemDefaults()) }
