//go:build !windows

package sockopt

// Lacks reports whether sockets lack an option in this release of the system,
// where net does otherwise then than return an error.
func Lacks(Option) bool { return false }
