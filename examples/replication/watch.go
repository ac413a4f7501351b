package main

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// watch shows what the kernel knows of a silent primary, until the kernel has
// given it up.
func (st *story) watch(conn net.Conn, power outage, progress func(keepalive.Status) string) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var shown time.Time
	var unanswered int
	for {
		select {
		case err := <-st.ended:
			return notLost(err)
		case lost := <-st.lost:
			st.Say("kernel", "gives the primary up after %.1f s: Read fails with %q", lost.at.Sub(power.since).Seconds(), cause(lost.err))
			return nil
		case <-ticker.C:
			status, err := keepalive.Stat(conn)
			if err != nil || !status.Open {
				continue // Read has failed, or is about to
			}
			if n := status.Probes + status.Retransmits; n != unanswered || time.Since(shown) >= st.Period(time.Second) {
				st.Refresh("silence", "%.1f s since the last answer, %s%s", status.SinceAck.Seconds(), progress(status), suspect(status))
				shown, unanswered = time.Now(), n
			}
		}
	}
}

func suspect(s keepalive.Status) string {
	if s.Suspect() {
		return ": suspect"
	}
	return ""
}

// cause returns what the system said.
func cause(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}
