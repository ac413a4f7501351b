// Package procfs reads the system's TCP keepalive settings.
package procfs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// IPv4 holds the settings. They count for IPv6 as well.
const IPv4 = "/proc/sys/net/ipv4"

// Keepalive returns tcp_keepalive_time and tcp_keepalive_intvl, in seconds,
// and tcp_keepalive_probes from the files of these names in dir. One that can't
// be read, or that holds no int of the kernel's, is the kernel's default
// (TCP_KEEPALIVE_TIME, TCP_KEEPALIVE_INTVL, TCP_KEEPALIVE_PROBES in
// include/net/tcp.h).
func Keepalive(dir string) (time, interval, probes int) {
	return read(dir, "tcp_keepalive_time", 7200),
		read(dir, "tcp_keepalive_intvl", 75),
		read(dir, "tcp_keepalive_probes", 9)
}

func read(dir, name string, fallback int) int {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return fallback
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return fallback
	}
	return int(n)
}
