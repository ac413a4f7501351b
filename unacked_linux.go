//go:build !keepalive_portable

package keepalive

import (
	"fmt"
	"sync"
	"syscall"
	"time"
	"weak"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
	"github.com/seed-7be6acb7/keepalive/internal/sockopt"
)

// An unackedLimit gives up the peer of a watched connection that leaves data in
// flight unanswered. It looks at the connection from a Write on, until nothing is
// in flight. A nil one does nothing.
type unackedLimit struct {
	conn  weak.Pointer[watchedConn]
	limit time.Duration

	mu      sync.Mutex
	timer   *time.Timer // nil while nothing is in flight and no call may send
	writing int         // calls that send
	reading int         // calls that read and may send, such as Read of TLS
	wrote   bool        // since the last look
	rare    bool        // the next look is for those that may send
	stopped bool
	silence policy.Silence
}

func limitUnacked(w *watchedConn, limit time.Duration) *unackedLimit {
	return &unackedLimit{conn: weak.Make(w), limit: limit}
}

// start observes data that was sent before, or that a long call sends.
func (u *unackedLimit) start() {
	u.enter()
	u.leave()
}

// enter begins to observe the connection, before a call sends data.
func (u *unackedLimit) enter() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writing++
	if u.rare {
		u.rare = false
		u.silence.Start(time.Now())
		u.timer.Reset(u.limit / 8)
	}
	u.observe()
}

// enterRead begins to observe the connection, before a call that may send data at
// any time, as a handshake does once the peer has begun it.
func (u *unackedLimit) enterRead() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading++
	u.observe()
}

// leaveRead ends a call that began with enterRead.
func (u *unackedLimit) leaveRead() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reading--
}

// observe has the connection looked at. The caller holds u.mu.
func (u *unackedLimit) observe() {
	if u.timer == nil && !u.stopped {
		u.silence.Start(time.Now())
		u.timer = time.AfterFunc(u.limit/8, u.look)
	}
}

// leave ends a call that began with enter. Its data may still be in flight.
func (u *unackedLimit) leave() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writing--
	u.wrote = true
}

func (u *unackedLimit) stop() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopped = true
	if u.timer != nil {
		u.timer.Stop()
	}
}

// look asks the kernel once for the data in flight.
func (u *unackedLimit) look() {
	w := u.conn.Value()
	if w == nil {
		return
	}
	u.mu.Lock()
	u.wrote = false // the kernel counts the data of earlier calls
	u.mu.Unlock()
	flight := w.flight()
	u.mu.Lock()
	lost := u.silence.Observe(time.Now(), flight, u.limit) && !u.stopped
	switch {
	case u.stopped:
	case flight.Outstanding || u.writing > 0 || u.wrote:
		u.rare = false
		u.timer.Reset(u.limit / 8)
	case u.reading > 0:
		u.rare = true
		u.timer.Reset(u.limit / 2)
	default:
		u.rare, u.timer = false, nil
	}
	u.mu.Unlock()
	if lost {
		w.giveUp(u.limit)
	}
}

// flight returns the data in flight, none once the connection has ended.
func (w *watchedConn) flight() (flight policy.Flight) {
	sockopt.RawControl(w.rc, func(fd uintptr) error {
		flight = policy.ReadFlight(fd)
		return nil
	})
	return flight
}

// giveUp ends the connection, and makes its calls return a timeout.
func (w *watchedConn) giveUp(limit time.Duration) {
	w.socket.end(func(conns []*watchedConn) error {
		if err := sockopt.RawControl(w.rc, sockopt.Disconnect); err != nil {
			return nil // closed, or refused: then the next look tries again
		}
		for _, w := range conns {
			w.connecting.Store(false) // the round-trip time is gone
		}
		return w.readError(fmt.Errorf("keepalive gave up the peer, which left data unanswered for %v: %w", limit, syscall.ETIMEDOUT))
	})
}
