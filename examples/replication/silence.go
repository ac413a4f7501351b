package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// watch shows the silence until Read has ended, and expects the kernel to have
// ended it.
func (st *story) watch(conn net.Conn, power outage, held policy, ended <-chan error) error {
	st.Say("keepalive", "is to notice that after %s: %s", unnoticed(held), held)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	var shown time.Time
	probes := 0
	for {
		select {
		case err := <-ended:
			silence := time.Since(power.since)
			if !keepalive.IsPeerLost(err) {
				return notLost(err)
			}
			st.Say("kernel", "gives the primary up after %.1f s: Read fails with %q", silence.Seconds(), cause(err))
			return nil
		case <-ticker.C:
			status, err := keepalive.Stat(conn)
			if err != nil || !status.Open {
				continue // Read has ended, or is about to
			}
			if status.Probes != probes || time.Since(shown) >= st.Period(time.Second) {
				st.Refresh("silence", "%s", progress(status, held))
				shown, probes = time.Now(), status.Probes
			}
		}
	}
}

// progress says what the kernel knows.
func progress(status keepalive.Status, held policy) string {
	s := fmt.Sprintf("%.1f s since the last answer, %d of %d probes unanswered", status.SinceAck.Seconds(), status.Probes, held.Count)
	if status.Suspect() {
		s += ": suspect"
	}
	return s
}

// cause returns what the system said.
func cause(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call.Err
	}
	return err
}

// notLost says that a connection ended in another way than by silence.
func notLost(err error) error {
	if err == nil {
		return errors.New("replica: got everything from a primary that was to fall silent half way")
	}
	return err
}
