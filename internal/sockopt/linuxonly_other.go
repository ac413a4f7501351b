//go:build !linux || keepalive_portable

package sockopt

// Other systems have options that sound alike and mean something else: see
// docs/systems.md.
const (
	tcpUserTimeout = 0
	tcpRTOMaxMs    = 0
)
