// Package keepalive sets the keepalive policy of a single TCP socket.
//
// Firewalls, NATs and load balancers forget idle connections without telling
// either end. Keepalive probes keep their state fresh and detect a dead peer,
// but Linux configures them for the whole machine, and Go's net package
// overwrites that with 15 s / 15 s / 9 on every connection and drops errors.
// This package sets the options of one socket. What it sets is what the kernel
// does, or it returns an error:
//
//	d := &keepalive.Dialer{Config: keepalive.Config{
//		Idle:     60 * time.Second, // silence before the first probe
//		Interval: 5 * time.Second,  // between probes
//		Count:    3,                // unanswered probes until the peer is dead
//	}}
//	conn, err := d.Dial("tcp", "replica.example:5432")
//
// [Dialer] and [ListenConfig] set the options as the socket connects or listens.
// On Linux an accepted connection then costs no system call.
// [Config.Apply], [Config.WrapDial] and [NewListener] set them on connections
// that somebody else opened. [Get] reads back what the kernel holds. [Stat]
// tells whether the peer still answers, and [IsPeerLost] whether an error says
// that the kernel has given the peer up. [Parse] reads a Config from text.
//
// A zero field selects the system default, whichever function sets it, so that
// the operator's sysctl counts again.
//
// On systems other than Linux the package uses net, which supports less: see
// [Config].
//
// Keepalive probes are sent only while no data is in flight.
// [Config.UserTimeout] bounds the time that data may go unacknowledged.
package keepalive
