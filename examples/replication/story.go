package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/seed-7be6acb7/keepalive/internal/cli"
)

// story is what both sides go through, as the replica tells it. Only one
// goroutine prints.
type story struct {
	*cli.Screen
	records int
	primary *primary
	replica *replica
}

// replicate runs both sides. It returns nil only where the replica has proven
// that it holds everything, and context.Canceled where ctx ended it.
func replicate(ctx context.Context, s *cli.Screen, o options) error {
	defer s.End()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p, err := newPrimary(ctx, o)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- p.serve(ctx)
		cancel() // without a primary the replica would wait for ever
	}()
	st := &story{s, o.records, p, newReplica(p.address(), o)}
	err = st.tell(ctx)
	cancel()
	perr := <-ended
	if perr != nil && errors.Is(err, context.Canceled) {
		return perr // which is why the replica ended
	}
	return errors.Join(err, perr)
}

func (st *story) tell(ctx context.Context) error {
	plain, err := plainPolicy(ctx, st.primary.address())
	if err != nil {
		return err
	}
	if err := st.copyUntilLost(ctx, plain); err != nil {
		return err
	}
	st.Say("", "%s", otherwise(plain))
	if err := st.resume(ctx); err != nil {
		return err
	}
	return st.prove()
}

// copyUntilLost returns nil once the kernel has given the primary up.
func (st *story) copyUntilLost(ctx context.Context, plain policy) error {
	conn, err := st.replica.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	held, err := policyOf(conn)
	if err != nil {
		return err
	}
	compare(st.Screen, held, plain)
	st.Say("replica", "connected, asks for what follows record %d", st.replica.journal.last())
	return st.follow(ctx, conn, held)
}

func (st *story) follow(ctx context.Context, conn net.Conn, held policy) error {
	ended := make(chan error, 1)
	go func() { ended <- st.replica.follow(ctx, conn, st.records) }()
	select {
	case err := <-ended:
		return notLost(err)
	case power := <-st.primary.outage:
		st.Say("replica", "holds records 1 to %d of %d, the link is idle", power.last, st.records)
		st.Say("primary", "loses power: no FIN, no RST, and no answer to what arrives")
		return st.watch(conn, power, held, ended)
	}
}

func (st *story) resume(ctx context.Context) error {
	conn, err := st.replica.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	st.Say("replica", "dials again, asks for what follows record %d", st.replica.journal.last())
	if err := st.replica.follow(ctx, conn, st.records); err != nil {
		return err
	}
	st.Say("replica", "holds records 1 to %d", st.replica.journal.last())
	return nil
}

func (st *story) prove() error {
	if err := st.replica.journal.prove(st.records); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	st.Say("proof", "%d of %d records arrived, each once and in order, every CRC-32C right",
		st.replica.journal.last(), st.records)
	return st.Err()
}
