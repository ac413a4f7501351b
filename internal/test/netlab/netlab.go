// Package netlab makes the network failures that the tests are about: a peer
// that falls silent, a network namespace with settings of its own, and on Linux
// a [Lab], whose client and server have a stateful firewall between them.
//
// A silent peer needs no privileges, a namespace and a lab do. [Main] runs the
// tests of an unprivileged process in a user namespace, in which they have
// privileges over nothing but their own network. If the system refuses that, the
// tests that need more are skipped. [Isolate] is for programs that need a network
// namespace of their own.
package netlab

// Environment variables.
const (
	// required makes a test fail where it would skip for lack of rights or tools.
	required = "KEEPALIVE_LAB"
	// inside marks a process that runs in a network namespace of its own.
	inside = "KEEPALIVE_LAB_INSIDE"
)
