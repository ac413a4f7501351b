//go:build !linux || keepalive_portable

package keepalive

import (
	"runtime"
	"time"
)

func systemDefaults() Config { return documented(runtime.GOOS) }

// documented returns what a system's documentation says of a socket whose
// options nobody has set. An operator may have changed it.
func documented(system string) Config {
	switch system {
	case "linux", "android": // tcp(7)
		return Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 9}
	case "windows":
		// KeepAliveTime and KeepAliveInterval of Tcpip\Parameters, and the
		// remarks on SIO_KEEPALIVE_VALS: 10 probes since Windows Vista.
		return Config{Idle: 2 * time.Hour, Interval: time.Second, Count: 10}
	case "illumos", "solaris":
		// _keepalive_interval and _keepalive_abort_interval of ipadm(8): the
		// connection ends 8 minutes after the first probe. Those between back
		// off, for which Config has no words.
		return Config{Idle: 2 * time.Hour, Interval: 8 * time.Minute, Count: 1}
	case "plan9":
		// DEF_KAT of ip/tcp.c, in milliseconds, and tcpsetkacounter: 12 minutes
		// after the connection was last heard of it ends, in place of the sixth
		// probe. ip(3) gives no values.
		return Config{Idle: 2 * time.Minute, Interval: 2 * time.Minute, Count: 5}
	default:
		// The BSDs have kept those of 4.4BSD, TCPTV_KEEP_IDLE, TCPTV_KEEPINTVL
		// and TCPTV_KEEPCNT of netinet/tcp_timer.h:
		//
		// macOS, FreeBSD, DragonFly: net.inet.tcp.keepidle, keepintvl and
		// keepcnt of tcp(4), in milliseconds: 7200000, 75000, 8.
		// NetBSD: the same of sysctl(7), in half seconds: 14400, 150, 8.
		// OpenBSD: net.inet.tcp.keepidle and keepintvl of sysctl(2), and
		// TCPTV_KEEPCNT.
		// AIX: tcp_keepidle, tcp_keepintvl and tcp_keepcnt of no(1), in half
		// seconds: 14400, 150, 8.
		return Config{Idle: 2 * time.Hour, Interval: 75 * time.Second, Count: 8}
	}
}
