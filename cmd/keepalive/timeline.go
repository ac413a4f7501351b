package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
)

// timeline draws what happens after the last sign of the peer, to scale: the
// first bar is the idle connection, the others that of a firewall that forgets
// it, and data in flight. Below each stands what it shows.
func timeline(t keepalive.Target, c keepalive.Config, width int) []string {
	detection, _ := c.DetectionTime()
	retransmissions, lost := inFlight(c)
	const label = "in flight  "
	d := drawing{columns: max(20, width-len(label)), end: detection}
	for _, other := range []time.Duration{t.IdleLimit, lost} {
		if other <= 3*detection {
			d.end = max(d.end, other)
		}
	}
	probes := keepAliveProbes(c)
	lines := []string{
		"idle       " + d.bar(detection, probes, 'o'),
		fmt.Sprintf("           %s; given up at %s", atTimes("probe", probes), duration.Format(detection)),
	}
	if t.IdleLimit != 0 {
		lines = append(lines,
			"firewall   "+d.bar(t.IdleLimit, nil, 0),
			fmt.Sprintf("           would forget it at %s; an answered probe starts that anew", duration.Format(t.IdleLimit)))
	}
	what := "given up at " + duration.Format(lost)
	if c.UserTimeout == 0 {
		what += ", at the next retransmission"
	}
	return append(lines,
		label+d.bar(lost, retransmissions, 'r'),
		"           retransmitted from 200ms on; "+what)
}

// keepAliveProbes returns when the probes are sent that nobody answers.
func keepAliveProbes(c keepalive.Config) []time.Duration {
	detection, _ := c.DetectionTime()
	var probes []time.Duration
	for at := c.Idle; at < detection; at += c.Interval {
		probes = append(probes, at)
	}
	return probes
}

// inFlight returns when data is retransmitted that nobody acknowledges, on a
// short path, and when the peer is given up.
func inFlight(c keepalive.Config) (retransmissions []time.Duration, lost time.Duration) {
	const first = 200 * time.Millisecond // TCP_RTO_MIN
	longest := 120 * time.Second         // TCP_RTO_MAX
	if c.MaxRTO != 0 {
		longest = c.MaxRTO
	}
	unacked, ok := c.UnackedTime()
	if !ok {
		unacked = 924600 * time.Millisecond // with the defaults of Linux
	}
	lost = first + unacked
	step := first
	for at := first; at < lost; at += step {
		retransmissions = append(retransmissions, at)
		step = min(2*step, longest)
	}
	return retransmissions, lost
}

func atTimes(what string, times []time.Duration) string {
	if len(times) == 1 {
		return what + " at " + duration.Format(times[0])
	}
	var s []string
	for _, t := range times {
		s = append(s, duration.Format(t))
	}
	return what + "s at " + strings.Join(s, ", ")
}

// A drawing is a scale from zero to end.
type drawing struct {
	columns int
	end     time.Duration
}

func (d drawing) column(at time.Duration) int {
	return int(int64(at) * int64(d.columns-1) / int64(d.end))
}

// bar draws a time that ends with an x, or leads out of the picture, and marks
// on it.
func (d drawing) bar(end time.Duration, marks []time.Duration, mark rune) string {
	last, ending := d.columns-1, '→'
	if end <= d.end {
		last, ending = d.column(end), 'x'
	}
	bar := slices.Repeat([]rune{'─'}, last+1)
	bar[0], bar[last] = '├', ending
	for _, at := range marks {
		if i := d.column(at); 0 < i && i < last {
			bar[i] = mark
		}
	}
	return string(bar)
}
