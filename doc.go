// Package keepalive sets the keepalive policy of a single TCP socket.
//
// Keepalive probes detect a dead peer and keep an idle connection known to the
// firewalls on its path. Linux configures them for the whole machine. Go's net
// package replaces that by 15 s, 15 s and 9 on every connection and drops
// errors. This package sets the options of one socket, or returns an error:
//
//	d := &keepalive.Dialer{Config: keepalive.Config{
//		Idle:     60 * time.Second, // silence before the first probe
//		Interval: 5 * time.Second,  // between probes
//		Count:    3,                // unanswered probes until the peer is dead
//	}}
//	conn, err := d.Dial("tcp", "replica.example:5432")
//
// [Dialer] and [ListenConfig] set the options before a socket connects or
// listens. [Config.Apply], [Config.WrapDial] and [NewListener] set them on
// connections that other code opened. [Plan] computes a policy. [Stat] reports
// whether the peer still answers, and [IsPeerLost] whether an error means that
// the kernel has given the peer up.
//
// A zero Idle, Interval or Count selects the system default, which the operator
// sets by sysctl. A zero UserTimeout is off. A zero MaxRTO changes nothing.
// Systems other than Linux support less: see [Config].
//
// The kernel sends no probe while data is in flight. [Config.MaxRTO] bounds the
// time until a peer that dies then is given up.
//
// docs/kernel.md describes the behavior of Linux that these comments cite.
package keepalive
