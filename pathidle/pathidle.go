// Package pathidle measures how long a path keeps an idle TCP connection.
//
// A firewall, NAT or load balancer forgets a connection that was silent for
// long enough, and tells nobody. After what time decides about a keepalive
// policy, and is rarely known. This package finds it out, against any TCP
// server that answers, without sending it a byte:
//
//	result, err := pathidle.Measure(ctx, "tcp", "primary.example:5432", nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	fmt.Println(result) // the path forgets a connection that is idle for 5m44s to 5m58s
//	config, err := result.Plan(keepalive.Target{})
//
// [Measure] opens a few connections and leaves them alone, each for a different
// time. Then it sends a keepalive probe. If it is answered, the path still knows
// the connection, which idles again for the next question. If not, the path has
// forgotten it. All idle side by side, and once more to confirm the answer: see
// [Options.Duration].
//
// docs/pathidle.md describes what is measured and what can't be seen.
package pathidle

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/bounds"
)

// Options are what a measurement may cost and how exact it is. The zero Options
// and a nil *Options select the defaults.
type Options struct {
	// Max is the longest idle time of interest, 1 s to 720 h. Zero is an
	// hour.
	Max time.Duration

	// Precision is how far apart the longest time that survived and the
	// shortest that was lost may be in the end, 1 s to 720 h. Zero is 5 % of
	// the answer, and at least 1 s.
	Precision time.Duration

	// Connections is how many connections are open at once at most, 1 to 1000.
	// Zero is 8. Four take about one and a half times as long, and one more
	// than three times. 16 take a tenth less.
	//
	// A connection that the path has forgotten goes on for the server until
	// its own keepalive, or timeout, ends it. A measurement leaves a few of
	// them behind.
	Connections int

	// Dial opens the connections, plain TCP to the address that it is given,
	// such as [net.Dialer.DialContext]. It has to return when ctx is done.
	// Nil is that of the zero net.Dialer. All connections but the first are
	// dialed to the remote address of the first, so that a name with several
	// addresses is one path.
	Dial keepalive.DialFunc

	// Progress, unless nil, is called by Measure whenever something has
	// happened, the first time before anything is dialed. Measure waits for
	// it to return.
	Progress func(Progress)
}

const (
	// longest is below the 49 days after which the times of TCP_INFO begin
	// again.
	longest = 720 * time.Hour

	maxConnections = 1000
)

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.Max = cmp.Or(c.Max, time.Hour)
	c.Connections = cmp.Or(c.Connections, 8)
	switch {
	case c.Max < shortest || c.Max > longest:
		return c, outOfRange("Max", c.Max, shortest, longest, "an hour")
	case c.Precision != 0 && (c.Precision < time.Second || c.Precision > longest):
		return c, outOfRange("Precision", c.Precision, time.Second, longest, "5 % of the answer")
	case c.Connections < 0 || c.Connections > maxConnections:
		return c, outOfRange("Connections", c.Connections, 1, maxConnections, "8")
	}
	return c, nil
}

func outOfRange[T int | time.Duration](field string, value, least, most T, zero string) error {
	return fmt.Errorf("pathidle: %w", &bounds.Error{
		Field: field, Value: fmt.Sprint(value), Want: fmt.Sprintf("%v to %v", least, most), Zero: zero,
	})
}

// Duration returns how long [Measure] takes on a path that forgets connections
// after limit, where nothing gets lost otherwise: with 8 connections mostly 2.2
// to 3.8 times the limit. Zero, less, and a limit above Max stand for a path that
// forgets nothing up to Max. Invalid options take no time.
func (o *Options) Duration(limit time.Duration) time.Duration {
	c, err := o.withDefaults()
	if err != nil {
		return 0
	}
	if limit <= 0 || limit > c.Max {
		limit = never
	}
	end, _ := newSearch(c).run(&idlePath{limit: limit, rtt: usualRTT}, 0)
	return end
}

// Measure finds out how long the path to a server keeps an idle connection. The
// network is tcp, tcp4 or tcp6.
//
// If the Verdict of the Result is [Found], Survived and Lost are the answer. The
// other verdicts say why there is no such answer, or why it is only a lower bound.
// That is no error.
//
// An error says that the measurement has ended early: ctx is done, and then the
// error is that of ctx; the server can't be reached, or no longer, by new
// connections, of which each has 30 s; or the network fails again and again. The
// Result is what was known by then, with the Verdict [Incomplete]. Whatever it
// returns, Measure leaves no connection open.
//
// It works on Linux. Elsewhere it returns an error that matches
// [errors.ErrUnsupported], before anything is dialed. So it does, after the first
// connection, where the kernel counts no segments in TCP_INFO: before Linux 4.2,
// and under gVisor.
func Measure(ctx context.Context, network, address string, o *Options) (Result, error) {
	c, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	switch network {
	case "tcp", "tcp4", "tcp6":
		return measure(ctx, network, address, c)
	}
	return Result{}, fmt.Errorf("pathidle: network is %q, want tcp, tcp4 or tcp6", network)
}
