package sysctl

import "time"

// Documented returns what the documentation of a system says of a socket whose
// keepalive options nobody has set. An operator may have changed it.
func Documented(goos string) (idle, interval time.Duration, count int) {
	switch goos {
	case "linux", "android":
		// tcp(7). TCP_KEEPALIVE_TIME, TCP_KEEPALIVE_INTVL and
		// TCP_KEEPALIVE_PROBES of include/net/tcp.h.
		return 2 * time.Hour, 75 * time.Second, 9
	case "windows":
		// KeepAliveTime and KeepAliveInterval of Tcpip\Parameters, and
		// the remarks on SIO_KEEPALIVE_VALS: 10 probes since Windows
		// Vista.
		return 2 * time.Hour, time.Second, 10
	case "illumos", "solaris":
		// _keepalive_interval and _keepalive_abort_interval of
		// ipadm(8): the connection ends 8 minutes after the first
		// probe. The probes between back off, which an interval and a
		// count can't express.
		return 2 * time.Hour, 8 * time.Minute, 1
	case "plan9":
		// DEF_KAT of ip/tcp.c, in milliseconds, and tcpsetkacounter: 12
		// minutes after the last segment the connection ends, in place
		// of the sixth probe. ip(3) gives no values.
		return 2 * time.Minute, 2 * time.Minute, 5
	default:
		// The BSDs have kept those of 4.4BSD, TCPTV_KEEP_IDLE,
		// TCPTV_KEEPINTVL and TCPTV_KEEPCNT of netinet/tcp_timer.h:
		//
		//   - macOS, FreeBSD, DragonFly: net.inet.tcp.keepidle,
		//     keepintvl and keepcnt of tcp(4), in milliseconds:
		//     7200000, 75000, 8
		//   - NetBSD: the same of sysctl(7), in half seconds: 14400,
		//     150, 8
		//   - OpenBSD: net.inet.tcp.keepidle and keepintvl of sysctl(2),
		//     and TCPTV_KEEPCNT
		//   - AIX: tcp_keepidle, tcp_keepintvl and tcp_keepcnt of no(1),
		//     in half seconds: 14400, 150, 8
		return 2 * time.Hour, 75 * time.Second, 8
	}
}
