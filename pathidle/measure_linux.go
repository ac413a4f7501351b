//go:build !keepalive_portable

package pathidle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"golang.org/x/sys/unix"
)

const (
	// How often the kernel is asked what has arrived: while nothing is
	// expected, and while an answer is.
	tick      = 100 * time.Millisecond
	quickTick = 2 * time.Millisecond

	// dialTimeout leaves room for four retransmissions of a SYN.
	dialTimeout = 30 * time.Second

	// asleep is for how long the machine may be suspended.
	asleep = time.Second
)

// errNoAnswer is that of a dial that took longer than dialTimeout. A caller would
// take [context.DeadlineExceeded] for the end of a context of its own.
var errNoAnswer = fmt.Errorf("no answer within %v", dialTimeout)

// measurement carries out what a search decides.
type measurement struct {
	network, remote string
	dial            keepalive.DialFunc
	report          func(Progress)

	search  *search
	sockets []*socket // as search.conns, nil where none is open
	dialed  chan dialed
	dialing int

	start     time.Time
	suspended time.Duration // since boot
}

type dialed struct {
	conn   int
	socket *socket
	err    error
}

func measure(ctx context.Context, network, address string, o Options) (Result, error) {
	m := &measurement{
		network: network, remote: address,
		dial: (&keepalive.Dialer{Config: silent}).DialContext, report: o.Progress,
		search: newSearch(o), sockets: make([]*socket, o.Connections),
		dialed: make(chan dialed, o.Connections),
		start:  time.Now(), suspended: suspended(),
	}
	if o.Dial != nil {
		m.dial = silent.WrapDial(o.Dial)
	}
	m.progress(0)
	err := m.run(ctx)
	result := m.search.result(m.now())
	m.hangUpAll()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // whatever else a dial returned then
		}
		result.Verdict, err = Incomplete, fmt.Errorf("pathidle: %w", err)
	}
	if m.search.opened != 0 {
		result.Remote = m.remote
	}
	return result, err
}

func (m *measurement) now() time.Duration { return time.Since(m.start) }

func (m *measurement) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer m.awaitDials()
	defer cancel()
	if err := m.first(ctx); err != nil {
		return err
	}
	for {
		if err := m.look(); err != nil {
			return err
		}
		st := m.search.next(m.now())
		if err := ctx.Err(); err != nil {
			return err
		}
		if st.at > m.now() {
			m.wait(ctx, st.at)
			continue
		}
		switch st.do {
		case finish:
			return m.search.err
		case dial:
			m.search.dialed(st.conn, m.now())
			m.open(ctx, st.conn)
			m.progress(len(m.search.samples))
		case hangUp:
			m.sockets[st.conn].abort()
			m.sockets[st.conn] = nil
			before := len(m.search.samples)
			m.search.hungUp(st.conn, m.now())
			m.progress(before)
		case ask:
			from := m.now()
			if err := m.sockets[st.conn].probe(); err != nil {
				return err
			}
			m.search.asked(st.conn, from, m.now())
			if n := len(m.search.conns[st.conn].probes); n <= 2 { // more do not change the picture
				m.progress(len(m.search.samples))
			}
		}
	}
}

// first opens the first connection, which tells what there is to measure.
func (m *measurement) first(ctx context.Context) error {
	m.search.dialed(0, 0)
	m.open(ctx, 0)
	d := <-m.dialed
	m.dialing--
	if d.err != nil {
		return d.err
	}
	m.remote = d.socket.conn.RemoteAddr().String()
	m.accept(d)
	return nil
}

func (m *measurement) open(ctx context.Context, i int) {
	m.dialing++
	remote := m.remote
	go func() {
		ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
		defer cancel()
		conn, err := m.dial(ctx, m.network, remote)
		if err != nil {
			if context.Cause(ctx) == errNoAnswer {
				err = fmt.Errorf("dial %s %s: %w", m.network, remote, errNoAnswer)
			}
			m.dialed <- dialed{conn: i, err: err}
			return
		}
		s, err := newSocket(conn)
		if err != nil {
			conn.Close()
		}
		m.dialed <- dialed{conn: i, socket: s, err: err}
	}()
}

func (m *measurement) accept(d dialed) {
	if d.err != nil {
		m.search.refused(d.conn, d.err)
		return
	}
	m.sockets[d.conn] = d.socket
	at := max(d.socket.opened.Sub(m.start), m.search.conns[d.conn].opened)
	m.search.accepted(d.conn, at, d.socket.rtt, d.socket.resent)
}

// awaitDials waits for the dials that were called off.
func (m *measurement) awaitDials() {
	for ; m.dialing > 0; m.dialing-- {
		if d := <-m.dialed; d.err == nil {
			d.socket.conn.Close()
		}
	}
}

// wait waits until something is to be done, or may have happened.
func (m *measurement) wait(ctx context.Context, until time.Duration) {
	longest := tick
	for i := range m.search.conns {
		if m.search.conns[i].state == StateAsked {
			longest = quickTick
		}
	}
	timer := time.NewTimer(min(until-m.now(), longest))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case d := <-m.dialed:
		m.dialing--
		m.accept(d)
		m.progress(len(m.search.samples))
	}
}

// look finds out what has happened.
func (m *measurement) look() error {
	if s := suspended(); s > m.suspended+asleep {
		m.suspended = s
		m.search.restart() // for how long the connections were idle is unknown
	}
	for i, s := range m.sockets {
		if s == nil {
			continue
		}
		before := len(m.search.samples)
		event, when, err := s.look()
		if err != nil {
			return err
		}
		at := max(when.Sub(m.start), m.search.conns[i].since)
		switch event {
		case nothing:
			continue
		case segment:
			if m.search.conns[i].state != StateAsked {
				m.search.heard(i, at)
				break
			}
			if err := s.rest(); err != nil {
				return err
			}
			m.search.answered(i, at)
		case closed:
			s.close()
			m.sockets[i] = nil
			m.search.ended(i, at, Closed)
		case reset:
			s.abort()
			m.sockets[i] = nil
			m.search.ended(i, at, Reset)
		}
		m.progress(before)
	}
	return nil
}

// hangUpAll closes the connections with a farewell, but for those that the path
// may have forgotten: the kernel would send that again and again.
func (m *measurement) hangUpAll() {
	for i, s := range m.sockets {
		c := &m.search.conns[i]
		switch {
		case s == nil:
		case c.state == StateIdle && m.now()-c.since <= m.search.lower:
			s.close()
		default:
			s.abort()
		}
	}
}

// progress reports how things are, and a sample that there were fewer of before.
func (m *measurement) progress(before int) {
	if m.report == nil {
		return
	}
	p := m.search.progress(m.now())
	if len(m.search.samples) > before {
		p.Sample = &m.search.samples[before]
	}
	m.report(p)
}

// suspended returns for how long the machine was suspended since it was booted.
func suspended() time.Duration {
	var boot, running unix.Timespec
	if errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot), unix.ClockGettime(unix.CLOCK_MONOTONIC, &running)) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - running.Nano())
}
