package policy

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/bounds"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// An Option is a socket option and the field of [Config] that holds its value.
type Option struct {
	sockopt.Option
	Field   string // of Config
	Key     string // in the text form of Config and in JSON
	Abbr    string // in a narrow table, "" for Idle/Interval/Count
	Example string // a value in the text form

	Unit     time.Duration // of the socket option, 1 for a plain number
	Min, Max int           // what a socket accepts, in units
	Zero     Zero
	Unset    int // what a new socket holds, where [Get] returns that as a zero field

	// Tick is more than the kernel adds to a value when it rounds it up, 0 if it
	// keeps values as they are: 1/HZ is 10 ms at most.
	Tick time.Duration

	Sysctl string // below net.ipv4, holds the system default
	Since  string // release of Linux that introduced it, "" before 2.6.37

	of   func(Config) int64 // in nanoseconds, or the plain number
	with func(Config, int64) Config
}

// Zero is what a zero field selects.
type Zero string

const (
	SystemDefault Zero = "the system default"
	Off           Zero = "off"
	Unchanged     Zero = "no change"
)

// MaxSeconds is MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of include/net/tcp.h.
const MaxSeconds = 32767

// Options holds a row for each option, in the order of the fields of Config.
//
// The maximum of Count is MAX_TCP_KEEPCNT. TCP_USER_TIMEOUT is an int. The
// range of TCP_RTO_MAX_MS is that of do_tcp_setsockopt in net/ipv4/tcp.c, from
// TCP_RTO_MAX_MIN_SEC to TCP_RTO_MAX_SEC.
var Options = [...]Option{
	{
		Option: sockopt.KeepIdle, Field: "Idle", Key: "idle", Example: "1m",
		Unit: time.Second, Min: 1, Max: MaxSeconds,
		Zero: SystemDefault, Sysctl: "tcp_keepalive_time",
		of:   func(c Config) int64 { return int64(c.Idle) },
		with: func(c Config, v int64) Config { c.Idle = time.Duration(v); return c },
	},
	{
		Option: sockopt.KeepIntvl, Field: "Interval", Key: "interval", Example: "5s",
		Unit: time.Second, Min: 1, Max: MaxSeconds,
		Zero: SystemDefault, Sysctl: "tcp_keepalive_intvl",
		of:   func(c Config) int64 { return int64(c.Interval) },
		with: func(c Config, v int64) Config { c.Interval = time.Duration(v); return c },
	},
	{
		Option: sockopt.KeepCnt, Field: "Count", Key: "count", Example: "3",
		Unit: 1, Min: 1, Max: 127,
		Zero: SystemDefault, Sysctl: "tcp_keepalive_probes",
		of:   func(c Config) int64 { return int64(c.Count) },
		with: func(c Config, v int64) Config { c.Count = int(v); return c },
	},
	{
		Option: sockopt.UserTimeout, Field: "UserTimeout", Key: "user_timeout", Abbr: "ut", Example: "1m15s",
		Unit: time.Millisecond, Min: 1, Max: math.MaxInt32,
		Zero: Off,
		of:   func(c Config) int64 { return int64(c.UserTimeout) },
		with: func(c Config, v int64) Config { c.UserTimeout = time.Duration(v); return c },
	},
	{
		Option: sockopt.MaxRTO, Field: "MaxRTO", Key: "max_rto", Abbr: "rto", Example: "2s",
		Unit: time.Millisecond, Min: 1000, Max: 120000,
		Zero: Unchanged, Unset: 120000, Tick: 11 * time.Millisecond, Since: "6.15",
		of:   func(c Config) int64 { return int64(c.MaxRTO) },
		with: func(c Config, v int64) Config { c.MaxRTO = time.Duration(v); return c },
	},
}

// Of returns the field of c, in nanoseconds or as a plain number.
func (o *Option) Of(c Config) int64 { return o.of(c) }

// With returns c with another value of the field.
func (o *Option) With(c Config, v int64) Config { return o.with(c, v) }

// Value returns what c sets the socket option to, 0 for a zero field.
func (o *Option) Value(c Config) int { return int(RoundUp(time.Duration(o.of(c)), o.Unit)) }

// WithValue returns c with the field set to a value of the socket option.
func (o *Option) WithValue(c Config, value int) Config {
	return o.with(c, int64(value)*int64(o.Unit))
}

// Held returns what the field of c stands for on a socket for which [Get] has
// returned c.
func (o *Option) Held(c Config) int64 {
	if v := o.of(c); v != 0 {
		return v
	}
	return int64(o.Unset) * int64(o.Unit)
}

// IsNumber reports whether the option is a plain number, not a duration.
func (o *Option) IsNumber() bool { return o.Unit == 1 }

func (o *Option) accepts(value int64) bool { return int64(o.Min) <= value && value <= int64(o.Max) }

// Format returns a value of the field as text.
func (o *Option) Format(v int64) string {
	if o.IsNumber() {
		return strconv.FormatInt(v, 10)
	}
	return time.Duration(v).String()
}

// parse is the reverse of Format.
func (o *Option) parse(s string) (int64, error) {
	if o.IsNumber() {
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0, fmt.Errorf("want a number from %d to %d", o.Min, o.Max)
		}
		return int64(n), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w, want a duration such as 1m", err)
	}
	return int64(d), nil
}

// Validate returns an error if no socket accepts the field of c. It names the
// field, the value and the range.
func (o *Option) Validate(c Config) error {
	v := o.of(c)
	if v == 0 || o.accepts(RoundUp(time.Duration(v), o.Unit)) {
		return nil
	}
	limit := o.Format(int64(o.Max) * int64(o.Unit))
	if !o.IsNumber() {
		limit += fmt.Sprintf(" (%d %s)", o.Max, o.Unit.String()[1:])
	}
	return &bounds.Error{
		Field: o.Field,
		Value: o.Format(v),
		Want:  o.Format(int64(o.Min)*int64(o.Unit)) + " to " + limit,
		Zero:  string(o.Zero),
	}
}

// RoundUp returns d in units. A time that is rounded down could become zero,
// which the kernel refuses or takes for "off".
func RoundUp(d, unit time.Duration) int64 {
	n := d / unit
	if d%unit > 0 {
		n++
	}
	return int64(n)
}
