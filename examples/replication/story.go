package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// story is what both sides go through. One goroutine prints it.
type story struct {
	*Screen
	options
	machine *machine
	replica *replica
	copied  *witness // the replica's records, which belong to it until it has ended

	connected chan net.Conn
	lost      chan loss
	ended     chan error
}

// loss is what the replica hears of an outage.
type loss struct {
	at  time.Time
	err error
}

// replicate runs both sides. It returns nil only if the replica has proven that
// it holds everything, and the cause of ctx if that ended it.
func replicate(ctx context.Context, s *Screen, o options) error {
	defer s.End()
	ctx, fail := context.WithCancelCause(ctx)
	ln, err := listen(ctx, "127.0.0.1:0", o.policy)
	if err != nil {
		fail(nil)
		return err
	}
	st := newStory(ctx, s, o, ln)
	var sides sync.WaitGroup
	defer sides.Wait()
	defer fail(nil)
	p := &primary{records: st.machine, failed: fail}
	sides.Go(func() { fail(p.serve(ctx, st.machine)) })
	plain, err := plainPolicy(ctx, st.replica.primary)
	if err != nil {
		return err
	}
	sides.Go(func() { st.ended <- st.replica.run(ctx, o.records) })
	return st.tell(plain)
}

// newStory returns a story whose replica reports what happens to it, and waits until
// each report is printed.
func newStory(ctx context.Context, s *Screen, o options, ln net.Listener) *story {
	m := newMachine(ln, o.records)
	st := &story{
		Screen: s, options: o, machine: m, copied: &witness{machine: m},
		connected: make(chan net.Conn), lost: make(chan loss), ended: make(chan error, 1),
	}
	st.replica = &replica{
		dialer:    keepalive.Dialer{Config: o.policy},
		primary:   ln.Addr().String(),
		records:   st.copied,
		connected: func(conn net.Conn) { send(ctx, st.connected, conn) },
		lost:      func(err error) { send(ctx, st.lost, loss{time.Now(), err}) },
	}
	return st
}

func send[T any](ctx context.Context, to chan<- T, event T) {
	select {
	case to <- event:
	case <-ctx.Done():
	}
}

// next returns what happens next, unless the replica ends first.
func next[T any](st *story, events <-chan T) (event T, err error) {
	select {
	case event = <-events:
	case err = <-st.ended:
		err = notLost(err)
	}
	return event, err
}

// notLost says that the replica ended in another way than it should.
func notLost(err error) error {
	if err == nil {
		return errors.New("replica: got everything from a primary that was to lose power")
	}
	return err
}

func (st *story) tell(plain keepalive.Config) error {
	conn, err := next(st, st.connected)
	if err != nil {
		return err
	}
	held, err := keepalive.Get(conn)
	if err != nil {
		return err
	}
	compare(st.Screen, held, plain)
	st.Say("replica", "connected, asks for what follows record 0")
	if conn, err = st.dieIdle(conn, held, plain); err != nil {
		return err
	}
	if _, err = st.dieInFlight(conn, held, plain); err != nil {
		return err
	}
	if err := <-st.ended; err != nil {
		return err
	}
	return st.prove()
}

// dieIdle is the first outage. It returns the replica's next connection.
func (st *story) dieIdle(conn net.Conn, held, plain keepalive.Config) (net.Conn, error) {
	power, err := next(st, st.machine.outages)
	if err != nil {
		return nil, err
	}
	st.Say("replica", "holds records 1 to %d of %d, the connection is idle", power.last, st.records)
	st.Say("primary", "loses power: no FIN, no RST, and no answer to what arrives")
	st.Say("keepalive", "is to notice that after %s: %s", unnoticed(held), st.policy)
	err = st.watch(conn, power, func(s keepalive.Status) string {
		return fmt.Sprintf("%d of %d probes unanswered", s.Probes, held.Count)
	})
	if err != nil {
		return nil, err
	}
	st.Say("", "net's defaults would have taken %s, the system's %s",
		unnoticed(plain), unnoticed(keepalive.SystemDefaults()))
	return st.resume(power)
}

// dieInFlight is the second outage. It returns the replica's next connection.
func (st *story) dieInFlight(conn net.Conn, held, plain keepalive.Config) (net.Conn, error) {
	power, err := next(st, st.machine.outages)
	if err != nil {
		return nil, err
	}
	st.Say("replica", "holds records 1 to %d of %d, and confirms them", power.last, st.records)
	st.Say("primary", "has lost power again: what is in flight is never acknowledged")
	st.Say("kernel", "does not probe then, but is to give up after %s", unacked(held))
	err = st.watch(conn, power, func(s keepalive.Status) string {
		return fmt.Sprintf("retransmitted %d times", s.Retransmits)
	})
	if err != nil {
		return nil, err
	}
	st.Say("", "net's defaults would have taken %s", unacked(plain))
	return st.resume(power)
}

func (st *story) resume(power outage) (net.Conn, error) {
	conn, err := next(st, st.connected)
	if err == nil {
		st.Say("replica", "dials again, asks for what follows record %d", power.last)
	}
	return conn, err
}

func (st *story) prove() error {
	if err := st.copied.prove(st.records); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	st.Say("replica", "holds records 1 to %d", st.copied.last())
	st.Say("proof", "%d of %d records arrived, each once and in order, every CRC-32C right",
		st.copied.last(), st.records)
	return st.Err()
}
