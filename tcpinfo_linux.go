//go:build !keepalive_portable

package keepalive

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const tcpClose = 7 // TCP_CLOSE of include/net/tcp_states.h

var onStatus operations[Status]

func stat(sc syscall.Conn) (Status, error) {
	return onStatus.controlConn(sc, Status{}, readStatus)
}

// readStatus does what unix.GetsockoptTCPInfo does, without its allocation.
func readStatus(fd int, s *Status) error {
	var info unix.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return &optionError{"getsockopt TCP_INFO", "TCP_INFO", errno}
	}
	if err := checkFilled(size); err != nil {
		return err
	}
	if info.State == tcpClose {
		return nil // the rest is left over, or wiped: MPTCP's times count from boot
	}
	*s = Status{
		Open:          true,
		Probes:        unanswered(&info),
		Retransmits:   int(info.Retransmits),
		Unacked:       int(info.Unacked),
		SinceReceived: time.Duration(info.Last_data_recv) * time.Millisecond,
		SinceAck:      time.Duration(info.Last_ack_recv) * time.Millisecond,
		RTT:           time.Duration(info.Rtt) * time.Microsecond,
	}
	return nil
}

// checkFilled takes what any kernel fills in of a TCPInfo, a newer one more than
// an older one: tcpi_rtt, the last field that is read here, is there in all. An
// emulator may hand over less: qemu-user one int.
func checkFilled(size uint32) error {
	const needed = unsafe.Offsetof(unix.TCPInfo{}.Rtt) + unsafe.Sizeof(unix.TCPInfo{}.Rtt)
	if size < uint32(needed) {
		return fmt.Errorf("keepalive: getsockopt TCP_INFO: %d bytes instead of %d: %w", size, needed, errors.ErrUnsupported)
	}
	return nil
}

// unanswered returns the probes that the peer owes an answer to. The kernel's
// count may be above that.
//
// Data that acknowledges nothing new does not reset it on the fast path of
// tcp_rcv_established. But keepalive probes go out after a second's silence at the
// earliest, so that within the last second nothing can have gone unanswered.
//
// A peer that stopped reading answers one zero-window probe per half a second
// (tcp_invalid_ratelimit), and they go out after 1, 3, 7 ... times the
// retransmission timeout. So the second one remains without an answer if that is
// below 250 ms, and the third one is due 1.5 s after the first answer at the
// latest. The timer wheel may add an eighth. Only these probes back off.
func unanswered(info *unix.TCPInfo) int {
	hidden := time.Second
	if info.Backoff > 0 {
		hidden = 2 * time.Second
	}
	if time.Duration(min(info.Last_data_recv, info.Last_ack_recv))*time.Millisecond < hidden {
		return 0
	}
	return int(info.Probes)
}
