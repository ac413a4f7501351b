package main

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
)

// machine is what the primary runs on. It loses power twice. It is back at once,
// with all of its journal, but the connection that it had is dead.
//
// Until the first outage half of the records exist. The replica has confirmed
// them and asked for more, so the connection is idle when it dies. Until the
// second, three quarters exist. The replica has received them, and is about to
// confirm them: that is in flight when the connection dies.
type machine struct {
	net.Listener
	journal journal
	outages chan outage

	mu     sync.Mutex
	struck int          // how many outages there were
	conn   *net.TCPConn // the connection that was accepted last
}

// The outages, as machine.struck counts them.
const (
	whenIdle = iota
	whenInFlight
)

type outage struct {
	since time.Time
	last  uint64 // the last record that the replica holds
}

func newMachine(ln net.Listener, records uint64) *machine {
	return &machine{Listener: ln, journal: newJournal(records), outages: make(chan outage, 2)}
}

// Accept remembers the connection, and returns it as it is.
func (m *machine) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn = conn.(*net.TCPConn)
	return conn, nil
}

// after implements source.
func (m *machine) after(ctx context.Context, number uint64, limit int) ([]record, error) {
	if records := m.existing().after(number, limit); len(records) > 0 {
		return records, nil
	}
	if err := m.losePower(whenIdle, number); err != nil {
		return nil, err
	}
	<-ctx.Done() // nothing runs on a machine without power
	return nil, ctx.Err()
}

// existing returns the records that exist so far.
func (m *machine) existing() journal {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.journal[:m.quarters(2+m.struck)]
}

// quarters returns the number of the last record of so many quarters.
func (m *machine) quarters(n int) uint64 {
	return m.journal.last() * uint64(n) / 4
}

// losePower makes the connection that was accepted last fall silent, unless that
// outage is over.
func (m *machine) losePower(when int, last uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.struck != when {
		return nil
	}
	if err := acknowledged(m.conn); err != nil {
		return err
	}
	if err := netlab.Silence(m.conn); err != nil {
		return err
	}
	m.conn.SetLinger(0) // the kernel would wait for an answer to its FIN
	m.struck++
	m.outages <- outage{time.Now(), last}
	return nil
}

// acknowledged waits until the other end has acknowledged what was sent, which
// its kernel does within a fraction of a second. A machine without power gives
// nobody up, but the kernel of this one would, and reset the connection.
func acknowledged(conn net.Conn) error {
	for {
		status, err := keepalive.Stat(conn)
		if err != nil || status.Unacked == 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// witness is the journal of the replica. It knows before the primary does what
// the replica is about to confirm.
type witness struct {
	journal
	machine *machine
}

// add implements store.
func (w *witness) add(r record) error {
	if err := w.journal.add(r); err != nil {
		return err
	}
	if r.number == w.machine.quarters(3) {
		return w.machine.losePower(whenInFlight, r.number)
	}
	return nil
}
