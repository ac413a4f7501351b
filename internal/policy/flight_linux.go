//go:build !keepalive_portable

package policy

import (
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// ReadFlight returns the data in flight on the connection fd, none once it has ended.
func ReadFlight(fd uintptr) Flight {
	var info unix.TCPInfo
	if err := sockopt.TCPInfo(fd, &info); err != nil {
		return Flight{}
	}
	return flightOf(&info)
}

func flightOf(info *unix.TCPInfo) Flight {
	switch info.State {
	case 0, unix.BPF_TCP_CLOSE:
		return Flight{}
	case unix.BPF_TCP_SYN_SENT: // with TCP Fast Open: a peer that has never answered
		return Flight{Outstanding: true}
	}
	f := Flight{
		SinceHeard: sinceHeard(info),
		Timeout:    200*time.Millisecond + time.Duration(info.Rtt+4*info.Rttvar)*time.Microsecond,
	}
	switch {
	case info.Unacked > 0:
		f.Outstanding, f.Unanswered = true, info.Retransmits
	case info.Notsent_bytes > 0: // the window is closed
		f.Outstanding, f.Probing, f.Unanswered = true, true, uint8(unansweredProbes(info))
	}
	return f
}
