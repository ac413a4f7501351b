//go:build !linux || keepalive_portable

package keepalive

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
)

// checkSupported returns an error for an option of c that net is known not to
// set on this system, so that it comes before anything has happened. What
// else depends on the release is left to the kernel, see sockopt.Error.
func checkSupported(c Config, fresh bool) error {
	what := cmp.Or(unsupportedOption(runtime.GOOS, c, fresh), missingOption(sockopt.Lacks, c))
	if what == "" && c.Disable && sysctl.AlwaysKeepalive() {
		what = "SO_KEEPALIVE off, while net.inet.tcp.always_keepalive is set,"
	}
	if what == "" {
		return nil
	}
	option, _, _ := strings.Cut(what, " ")
	return sockopt.Unsupported(option, what)
}

// unsupportedOption names the first option of c that net can't set on a system,
// "" if there is none. On a fresh socket nobody can have turned keepalive on.
//
// It follows SetKeepAliveConfig in net/tcpsock_*.go and what that calls in
// net/tcpsockopt_*.go.
func unsupportedOption(goos string, c Config, fresh bool) string {
	for o := range oneByOne(c) {
		if o.Zero != policy.SystemDefault {
			return o.Name // only Linux has it
		}
	}
	switch goos {
	case "openbsd": // no timing per socket
		return firstOption(c)
	case "js", "wasip1":
		if !c.Disable {
			return sockopt.KeepAlive.Name
		}
		return firstOption(c)
	case "plan9":
		if c.Disable && !fresh {
			return "SO_KEEPALIVE off" // net ignores it without an error
		}
		c.Idle = 0 // supported: the period of all probes
		return firstOption(c)
	case "solaris":
		// Before 11.4 net sets their product, refuses Interval alone,
		// and ignores Count alone without an error.
		if (c.Interval != 0) != (c.Count != 0) {
			return "TCP_KEEPINTVL without TCP_KEEPCNT, or the reverse,"
		}
	}
	return ""
}

// missingOption names the first option of c that can't be set on a release of
// the system that lacks options, "" if there is none.
//
// On such a Windows net sets Idle and Interval together, by SIO_KEEPALIVE_VALS:
// Idle alone would make Interval 1 s, and Interval alone is refused.
func missingOption(lacks func(sockopt.Option) bool, c Config) string {
	switch {
	case (c.Idle != 0) != (c.Interval != 0) && (lacks(sockopt.KeepIdle) || lacks(sockopt.KeepIntvl)):
		return "TCP_KEEPIDLE without TCP_KEEPINTVL, or the reverse,"
	case c.Count != 0 && lacks(sockopt.KeepCnt):
		return sockopt.KeepCnt.Name
	}
	return ""
}

// hasKeepAlive reports whether the network of a system has keepalive. That of
// js and wasip1 is in memory.
func hasKeepAlive(goos string) bool { return goos != "js" && goos != "wasip1" }

// firstOption names the first option in the order of oneByOne that c sets.
func firstOption(c Config) string {
	for o := range oneByOne(c) {
		return o.Name
	}
	return ""
}

// oneByOne returns the options that c sets, each with a Config that sets
// nothing else. Count comes before Interval: illumos takes an Interval only if
// Interval × Count stays below 8 minutes, with the Count that the socket has.
func oneByOne(c Config) func(yield func(*policy.Option, Config) bool) {
	return func(yield func(*policy.Option, Config) bool) {
		for i := range slices.Backward(policy.Options[:]) {
			o := &policy.Options[i]
			v := o.Of(policy.Config(c))
			only := o.With(policy.Config{Disable: c.Disable}, v)
			if v != 0 && !yield(o, Config(only)) {
				return
			}
		}
	}
}

func supported(c Config) Config { return supportedBy(runtime.GOOS, sockopt.Lacks, c) }

// supportedBy leaves out of c what a system is known to lack, one option after the
// other.
func supportedBy(goos string, lacks func(sockopt.Option) bool, c Config) Config {
	if !hasKeepAlive(goos) {
		return Config{Disable: true}
	}
	for o := range oneByOne(c) {
		if o.Zero != policy.SystemDefault {
			c = Config(o.With(policy.Config(c), 0))
		}
	}
	for { // an option may need another one
		what := cmp.Or(unsupportedOption(goos, Config{Idle: c.Idle, Interval: c.Interval, Count: c.Count}, true), missingOption(lacks, c))
		if what == "" {
			return c
		}
		for _, name := range strings.Fields(strings.ReplaceAll(what, ",", "")) {
			for o := range oneByOne(c) {
				if o.Name == name {
					c = Config(o.With(policy.Config(c), 0))
				}
			}
		}
	}
}
