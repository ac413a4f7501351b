//go:build !keepalive_portable

package sockopt

import "golang.org/x/sys/unix"

const (
	tcpUserTimeout = unix.TCP_USER_TIMEOUT
	tcpRTOMaxMs    = unix.TCP_RTO_MAX_MS
)
