package cgrouppolicy

import (
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/sys/unix"
)

// An option is a socket option and the value that the policy wants.
type option struct {
	name          string
	level, number int32
	value         int32
	takes         string // what eBPF takes to set it
}

// optionsOf returns what c names. What a socket may lack comes first, so that its
// refusal leaves the socket as it was. SO_KEEPALIVE is the last one, so that what
// turning it on arms is the timer of the policy.
func optionsOf(c keepalive.Config) ([]option, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	const linux59 = "Linux 5.9"
	options := []option{
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, roundUp(c.UserTimeout, time.Millisecond), linux59},
		{"TCP_RTO_MAX_MS", unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, roundUp(c.MaxRTO, time.Millisecond), "Linux 6.15, or a policy without max_rto"},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, roundUp(c.Idle, time.Second), linux59},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, roundUp(c.Interval, time.Second), linux59},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, int32(c.Count), linux59},
	}
	named := options[:0]
	for _, o := range options {
		if o.value != 0 {
			named = append(named, o)
		}
	}
	on := option{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, linux59}
	if c.Disable {
		on.value = 0
	}
	return append(named, on), nil
}

// roundUp returns d in units, as package keepalive does.
func roundUp(d, unit time.Duration) int32 { return int32((d + unit - 1) / unit) }
