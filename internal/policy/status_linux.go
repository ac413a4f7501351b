//go:build !keepalive_portable

package policy

import (
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// Status has the fields of keepalive.Status, which documents them, in the same
// order, so that one converts to the other.
type Status struct {
	Open          bool
	Probes        int
	Retransmits   int
	Unacked       int
	SinceReceived time.Duration
	SinceAck      time.Duration
	RTT           time.Duration
}

// Stat returns the status of the connection fd.
func Stat(fd uintptr) (Status, error) {
	var info unix.TCPInfo
	if err := sockopt.TCPInfo(fd, &info); err != nil {
		return Status{}, explain(fd, err)
	}
	return StatusOf(&info), nil
}

// GaveUp reports whether the kernel has closed the connection fd with probes or
// data unanswered. The counts outlive the connection; one that both ends have
// closed has none.
func GaveUp(fd uintptr) bool {
	var info unix.TCPInfo
	return sockopt.TCPInfo(fd, &info) == nil && gaveUp(&info)
}

func gaveUp(info *unix.TCPInfo) bool {
	return info.State == unix.BPF_TCP_CLOSE && (info.Probes > 0 || info.Retransmits > 0)
}

// WasEstablished reports whether a round trip was ever measured on fd, or whether
// that is unknown. The smoothed round-trip time outlives the connection.
func WasEstablished(fd uintptr) bool {
	var info unix.TCPInfo
	return sockopt.TCPInfo(fd, &info) != nil || info.Rtt != 0
}

// StatusOf returns what TCP_INFO says. It is the zero Status for a closed
// connection: the rest of its TCP_INFO is left over, or wiped, and then MPTCP's
// times count from boot.
func StatusOf(info *unix.TCPInfo) Status {
	if info.State == 0 || info.State == unix.BPF_TCP_CLOSE {
		return Status{}
	}
	s := Status{Open: true, Retransmits: int(info.Retransmits), Unacked: int(info.Unacked)}
	if info.State == unix.BPF_TCP_SYN_SENT { // with TCP Fast Open: the times count from boot
		return s
	}
	return Status{
		Open:          true,
		Probes:        unansweredProbes(info),
		Retransmits:   s.Retransmits,
		Unacked:       s.Unacked,
		SinceReceived: time.Duration(info.Last_data_recv) * time.Millisecond,
		SinceAck:      time.Duration(info.Last_ack_recv) * time.Millisecond,
		RTT:           time.Duration(info.Rtt) * time.Microsecond,
	}
}

// unansweredProbes returns the probes that the peer owes an answer to. The
// kernel's count may be higher.
//
// Data that acknowledges nothing new does not reset it on the fast path of
// tcp_rcv_established. But the first keepalive probe follows a second of
// silence at the earliest, so within the last second nothing can have gone
// unanswered.
//
// A peer that stopped reading answers one zero-window probe per half a second
// (tcp_invalid_ratelimit), and they are sent after 1, 3, 7 ... times the
// retransmission timeout. So the second one goes unanswered if that is below
// 250 ms, and the third one is due 1.5 s after the first answer at the latest.
// The timer wheel may add an eighth. Only these probes back off.
func unansweredProbes(info *unix.TCPInfo) int {
	quiet := time.Second
	if info.Backoff > 0 {
		quiet = 2 * time.Second
	}
	if sinceHeard(info) < quiet {
		return 0
	}
	return int(info.Probes)
}
