package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// A sysctlSetting is a setting of a network namespace.
type sysctlSetting struct {
	name   string
	value  int64
	unsafe bool // whether the kubelet has to allow it
}

func sysctlsOf(t keepalive.Target, c keepalive.Config) []sysctlSetting {
	all := []sysctlSetting{
		{name: "net.ipv4.tcp_keepalive_time", value: int64(c.Idle / time.Second)},
		{name: "net.ipv4.tcp_keepalive_intvl", value: int64(c.Interval / time.Second)},
		{name: "net.ipv4.tcp_keepalive_probes", value: int64(c.Count)},
	}
	switch {
	case c.MaxRTO != 0:
		all = append(all, sysctlSetting{"net.ipv4.tcp_rto_max_ms", c.MaxRTO.Milliseconds(), true})
	case c.UserTimeout != 0:
		all = append(all, sysctlSetting{"net.ipv4.tcp_retries2", int64(mostRetries(t, c)), true})
	}
	return all
}

func sysctlLines(t keepalive.Target, c keepalive.Config, all []sysctlSetting) []string {
	var lines []string
	for _, s := range all {
		lines = append(lines, fmt.Sprintf("%s = %d", s.name, s.value))
	}
	if c.MaxRTO != 0 {
		lines = append(lines, "# tcp_rto_max_ms is for every program that sets no max_rto, and needs Linux 6.15")
	}
	if c.UserTimeout != 0 {
		least, most := retryTimes(mostRetries(t, c))
		lines = append(lines, fmt.Sprintf("# tcp_retries2 is for every program without a user timeout: unanswered data ends a connection after %.1fs to %.1fs",
			least.Seconds(), most.Seconds()))
	}
	return append(lines, "# tcp_keepalive_* is for sockets with SO_KEEPALIVE whose program sets no timing of its own",
		"# the file does not reach containers that have a network of their own")
}

func docker(all []sysctlSetting) []string {
	var flags strings.Builder
	for _, s := range all {
		fmt.Fprintf(&flags, " --sysctl %s=%d", s.name, s.value)
	}
	return []string{"docker run" + flags.String()}
}

func compose(all []sysctlSetting) []string {
	lines := []string{"sysctls:"}
	for _, s := range all {
		lines = append(lines, fmt.Sprintf("  %s: %d", s.name, s.value))
	}
	return append(lines, "# of a service")
}

// kubernetes has values that are strings.
func kubernetes(all []sysctlSetting) []string {
	lines := []string{"securityContext:", "  sysctls:"}
	var notes []string
	for _, s := range all {
		entry := fmt.Sprintf(`- {name: %s, value: "%d"}`, s.name, s.value)
		if s.unsafe {
			notes = append(notes, "# where the kubelet has it in --allowed-unsafe-sysctls:", "# "+entry)
			continue
		}
		lines = append(lines, "  "+entry)
	}
	return append(append(lines, "# of a Pod, safe since Kubernetes 1.29"), notes...)
}

// mostRetries returns the largest tcp_retries2, up to the default of 15, with which
// the kernel gives up data in flight as soon as t demands, or else as c does.
func mostRetries(t keepalive.Target, c keepalive.Config) int {
	limit := t.Detect
	if limit == 0 {
		limit = policy.WithTimerSlack(c.UserTimeout)
	}
	retries := 1
	for ; retries < 15; retries++ {
		if _, most := retryTimes(retries + 1); most > limit {
			break
		}
	}
	return retries
}

// retryTimes returns after what time data in flight is given up with so many
// retries, counted from the first retransmission, on a path with a round trip of
// up to 200 ms. The most has timers that are late.
//
// The kernel computes a time from the retries as if the first wait were 200 ms. It
// looks at it only when it retransmits, and each wait is twice the one before. The
// first one is three times the round trip on a connection that is new, and less on
// one that has been used.
func retryTimes(retries int) (least, most time.Duration) {
	const (
		shortest = 200 * time.Millisecond // TCP_RTO_MIN
		longest  = 3 * 200 * time.Millisecond
		maxRTO   = 120 * time.Second
	)
	model := policy.ModelTimeout(retries, maxRTO)
	least = model + maxRTO
	for first := shortest; first <= longest; first += time.Millisecond {
		var waited time.Duration
		for wait := 2 * first; waited < model; wait = min(2*wait, maxRTO) {
			waited += wait
		}
		least, most = min(least, waited), max(most, waited)
	}
	return least, policy.WithTimerSlack(most)
}
