package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

type policy = keepalive.Config

func policyOf(conn net.Conn) (policy, error) {
	held, err := keepalive.Get(conn)
	if err != nil {
		return policy{}, fmt.Errorf("replica: %w", err)
	}
	return held, nil
}

// plainPolicy returns what net sets on a connection of its own to the same
// listener. It is measured: the releases of Go differ.
func plainPolicy(ctx context.Context, address string) (policy, error) {
	var d net.Dialer // as net.Dial has it
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return policy{}, sideError(ctx, "net.Dial", err)
	}
	defer conn.Close()
	return policyOf(conn)
}

// compare prints both policies under the names that tcp(7) and socket(7) give
// their options.
func compare(s *cli.Screen, held, plain policy) {
	s.Line("What the kernel holds  on this connection  on one of net.Dial")
	for _, row := range []struct {
		option string
		value  func(policy) string
	}{
		{"SO_KEEPALIVE", func(p policy) string { return onOff(!p.Disable) }},
		{"TCP_KEEPIDLE", func(p policy) string { return spell(p.Idle) }},
		{"TCP_KEEPINTVL", func(p policy) string { return spell(p.Interval) }},
		{"TCP_KEEPCNT", func(p policy) string { return fmt.Sprint(p.Count) }},
	} {
		s.Line("  %-19s  %18s  %18s", row.option, row.value(held), row.value(plain))
	}
	s.Line("")
}

// otherwise says how long the same silence would have lasted without the
// replica's policy.
func otherwise(plain policy) string {
	return fmt.Sprintf("net's defaults would have taken %s, the system's %s",
		unnoticed(plain), unnoticed(keepalive.SystemDefaults()))
}

// unnoticed says how long a peer may be silent on an idle connection.
func unnoticed(p policy) string {
	d, ok := p.DetectionTime()
	if !ok {
		return "for ever"
	}
	return spell(d)
}

// spell leaves out what does not matter: 5 s, 150 s, 2 h 11 min.
func spell(d time.Duration) string {
	switch {
	case d < 10*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
