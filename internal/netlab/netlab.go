// Package netlab makes the network failures that the tests are about: a peer
// that falls silent, a network namespace with settings of its own, and on Linux
// a [Lab], whose client and server have a stateful firewall between them.
//
// Some of it needs privileges. A process that lacks them starts itself again in
// a user namespace, in which it has them over nothing but its own network, and
// goes on as it is where the system refuses them there too: [Main] does so for
// tests, [Enter] for programs. [Isolate] is for programs that need a network
// namespace of their own whoever runs them.
package netlab

// Environment variables.
const (
	// required makes a test fail where it would skip for lack of rights or tools.
	required = "KEEPALIVE_LAB"
	// inside marks a process that runs in namespaces of its own.
	inside = "KEEPALIVE_LAB_INSIDE"
)
