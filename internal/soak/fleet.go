package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What a probe and its answer measure: 20 bytes of IPv4 and 32 of TCP with
// timestamps, no data, and on Ethernet a header of 14, a checksum of 4, a
// preamble of 8 and a gap of 12.
const (
	packetBytes = 20 + 32
	frameBytes  = packetBytes + 14 + 4 + 8 + 12
)

// fleet is what idle connections cost all machines at both of their ends
// together.
type fleet struct {
	connections int
	cost        time.Duration // of a probe and its answer, on the processors of both ends
}

func (f fleet) validate() error {
	if f.connections < 1 {
		return fmt.Errorf("-fleet is %d, want at least 1 connection", f.connections)
	}
	if f.cost <= 0 {
		return errors.New("-fleet wants a -probe-cost, such as 4us: a run of this command measures it")
	}
	return nil
}

// table returns the costs by Idle, in Markdown.
func (f fleet) table() string {
	var b strings.Builder
	b.WriteString("| Idle | probes/s | packets/s | bandwidth each way | processors |\n")
	b.WriteString("| ---: | ---: | ---: | ---: | ---: |\n")
	for _, idle := range []time.Duration{
		10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 234 * time.Second, 15 * time.Minute, 2 * time.Hour,
	} {
		probes := float64(f.connections) / idle.Seconds()
		fmt.Fprintf(&b, "| %s | %s | %s | %.3g Mbit/s | %.3g |\n", spell(idle), group(probes), group(2*probes),
			probes*frameBytes*8/1e6, probes*f.cost.Seconds())
	}
	return b.String()
}

// spell leaves out the units that are zero.
func spell(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%g s", d.Seconds())
	}
}

// group returns the integer nearest to x, its digits in groups of three.
func group[T int | int64 | uint64 | float64](x T) string {
	digits := fmt.Sprintf("%.0f", float64(x))
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
