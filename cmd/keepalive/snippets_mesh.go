package main

import (
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// envoy has no names for these options: it takes the numbers of Linux.
func envoy(c keepalive.Config) []string {
	const solSocket, ipprotoTCP = 1, 6
	lines := []string{"socket_options:"}
	option := func(level, name int, value int64, comment string) {
		if value != 0 {
			lines = append(lines, fmt.Sprintf("- {level: %d, name: %d, int_value: %d} # %s", level, name, value, comment))
		}
	}
	option(solSocket, 9, 1, "SO_KEEPALIVE")
	option(ipprotoTCP, 4, int64(c.Idle/time.Second), "TCP_KEEPIDLE")
	option(ipprotoTCP, 5, int64(c.Interval/time.Second), "TCP_KEEPINTVL")
	option(ipprotoTCP, 6, int64(c.Count), "TCP_KEEPCNT")
	option(ipprotoTCP, 18, c.UserTimeout.Milliseconds(), "TCP_USER_TIMEOUT")
	option(ipprotoTCP, 44, c.MaxRTO.Milliseconds(), "TCP_RTO_MAX_MS")
	return append(lines, "# of a listener, and for a cluster below upstream_bind_config")
}

func istio(c keepalive.Config) []string {
	return []string{
		"trafficPolicy:",
		"  connectionPool:",
		"    tcp:",
		fmt.Sprintf("      tcpKeepalive: {time: %ds, interval: %ds, probes: %d}", c.Idle/time.Second, c.Interval/time.Second, c.Count),
		"# of a DestinationRule, for connections to the destination",
	}
}
