//go:build !linux && !windows && !plan9

package sockopt

// Only Linux is known to return soft errors, and has MPTCP.
func isSoftError(string, error) bool     { return false }
func isOutOfSubflows(string, error) bool { return false }
