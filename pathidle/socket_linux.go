//go:build !keepalive_portable

package pathidle

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
	"golang.org/x/sys/unix"
)

// silent is the policy of a connection that is not asked. The kernel sends a probe
// when it is told to, see socket.probe, and else none, for as long as it can
// be told.
var silent = keepalive.Config{
	Disable:  true,
	Idle:     shortest,
	Interval: 32767 * time.Second,
	Count:    127,
}

// socket is a connection that the kernel is asked about.
type socket struct {
	conn     net.Conn
	rc       syscall.RawConn
	segments uint32 // that have arrived
	looked   time.Time
	opened   time.Time // when the answer to the SYN arrived
	rtt      time.Duration
	resent   int // segments of the handshake
}

func newSocket(conn net.Conn) (*socket, error) {
	rc, err := sockopt.RawConn(conn.(syscall.Conn)) // which WrapDial has used
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, rc: rc, looked: time.Now()}
	return s, sockopt.RawControl(rc, s.check)
}

func (s *socket) check(fd uintptr) error {
	protocol, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err == nil && protocol != unix.IPPROTO_TCP {
		return fmt.Errorf("the connection is not plain TCP: %w", errors.ErrUnsupported)
	}
	var info unix.TCPInfo
	if err := sockopt.TCPInfo(fd, &info); err != nil {
		return err
	}
	if info.Segs_in == 0 { // not even the answer to the SYN
		return fmt.Errorf("TCP_INFO does not count segments on this system: %w", errors.ErrUnsupported)
	}
	s.segments = info.Segs_in
	s.opened = time.Now().Add(-time.Duration(info.Last_ack_recv) * time.Millisecond)
	s.rtt = time.Duration(info.Rtt) * time.Microsecond
	s.resent = int(info.Total_retrans)
	return nil
}

// probe sends a keepalive probe. Setting TCP_KEEPIDLE while keepalive is on arms
// the timer anew, and a timer that is overdue fires at once
// (tcp_sock_set_keepidle_locked in net/ipv4/tcp.c).
func (s *socket) probe() error {
	return sockopt.RawControl(s.rc, func(fd uintptr) error {
		if err := sockopt.KeepAlive.Set(fd, 1); err != nil {
			return err
		}
		return sockopt.KeepIdle.Set(fd, int(shortest/time.Second))
	})
}

// rest ends a question.
func (s *socket) rest() error {
	return sockopt.RawControl(s.rc, func(fd uintptr) error { return sockopt.KeepAlive.Set(fd, 0) })
}

// event is what a look at a socket finds.
type event int

const (
	nothing event = iota
	segment       // one or more have arrived
	closed        // the server has closed its end
	reset
)

// look returns what has happened since the last look, and when.
//
// The kernel notes when data or an acknowledgement arrived, to its tick. The
// probes of the server are only counted.
func (s *socket) look() (event, time.Time, error) {
	var info unix.TCPInfo
	now, err := s.info(&info)
	if err != nil {
		return nothing, now, err
	}
	arrived := info.Segs_in != s.segments
	s.segments = info.Segs_in
	if arrived { // maybe a reset, after the kernel had read the state: docs/kernel.md#tcp-info
		if err := s.readState(&info); err != nil {
			return nothing, now, err
		}
	}
	last := now.Add(-time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond)
	since := s.looked
	s.looked = now
	if last.After(since) {
		now = last
	}
	switch {
	case info.State == unix.BPF_TCP_CLOSE:
		return reset, now, nil
	case info.State != unix.BPF_TCP_ESTABLISHED:
		return closed, now, nil
	case arrived:
		return segment, now, nil
	}
	return nothing, now, nil
}

// info reads TCP_INFO and the time. Where another process came in between it
// does so again.
func (s *socket) info(info *unix.TCPInfo) (time.Time, error) {
	for tries := 1; ; tries++ {
		before := time.Now()
		if err := sockopt.RawControl(s.rc, func(fd uintptr) error { return sockopt.TCPInfo(fd, info) }); err != nil {
			return before, err
		}
		if now := time.Now(); now.Sub(before) < time.Millisecond || tries == 10 {
			return now, nil
		}
	}
}

// readState reads the state anew.
func (s *socket) readState(info *unix.TCPInfo) error {
	var later unix.TCPInfo
	err := sockopt.RawControl(s.rc, func(fd uintptr) error { return sockopt.TCPInfo(fd, &later) })
	info.State = later.State
	return err
}

// close closes the connection with a farewell. What was not read would make the
// kernel reset it instead.
func (s *socket) close() {
	var discarded [4096]byte
	s.rc.Read(func(fd uintptr) bool {
		for {
			if n, _, _ := unix.Recvfrom(int(fd), discarded[:], unix.MSG_DONTWAIT); n <= 0 {
				return true
			}
		}
	})
	s.conn.Close()
}

// abort closes the connection without waiting for anything.
func (s *socket) abort() {
	sockopt.RawControl(s.rc, func(fd uintptr) error {
		return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	s.conn.Close()
}
