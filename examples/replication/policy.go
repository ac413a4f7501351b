package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
)

// plainPolicy returns what net sets on a connection of its own to the same
// listener. It is measured: the releases of Go differ.
func plainPolicy(ctx context.Context, address string) (keepalive.Config, error) {
	var d net.Dialer // as net.Dial uses it
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return keepalive.Config{}, err
	}
	defer conn.Close()
	return keepalive.Get(conn)
}

// compare prints both policies under the names that tcp(7) and socket(7) give
// their options.
func compare(s *Screen, held, plain keepalive.Config) {
	s.Line("What the kernel holds  on this connection  on one of net.Dial")
	type row struct {
		option string
		value  func(keepalive.Config) string
	}
	rows := []row{
		{"SO_KEEPALIVE", func(c keepalive.Config) string { return orOff(!c.Disable, "on") }},
		{"TCP_KEEPIDLE", func(c keepalive.Config) string { return duration.Format(c.Idle) }},
		{"TCP_KEEPINTVL", func(c keepalive.Config) string { return duration.Format(c.Interval) }},
		{"TCP_KEEPCNT", func(c keepalive.Config) string { return fmt.Sprint(c.Count) }},
		{"TCP_USER_TIMEOUT", func(c keepalive.Config) string { return orOff(c.UserTimeout > 0, duration.Format(c.UserTimeout)) }},
	}
	if held.MaxRTO > 0 { // Linux 6.15
		rows = append(rows, row{"TCP_RTO_MAX_MS", func(c keepalive.Config) string { return duration.Format(cmp.Or(c.MaxRTO, 2*time.Minute)) }})
	}
	for _, r := range rows {
		s.Line("  %-19s  %18s  %18s", r.option, r.value(held), r.value(plain))
	}
	s.Line("")
}

func orOff(on bool, value string) string {
	if on {
		return value
	}
	return "off"
}

// unnoticed says how long a peer may be silent on an idle connection.
func unnoticed(c keepalive.Config) string {
	d, ok := c.DetectionTime()
	if !ok {
		return "forever"
	}
	return duration.Format(d)
}

// unacked says how long a peer may be silent while data is in flight, and what
// bounds that.
func unacked(c keepalive.Config) string {
	d, ok := c.UnackedTime()
	switch {
	case !ok:
		return "a time that is not known"
	case c.UserTimeout > 0:
		return duration.Format(d) + " (TCP_USER_TIMEOUT)"
	case c.MaxRTO > 0:
		return duration.Format(d) + " (tcp_retries2 and TCP_RTO_MAX_MS)"
	default:
		return duration.Format(d) + " (tcp_retries2)"
	}
}
