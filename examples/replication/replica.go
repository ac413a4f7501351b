package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/seed-7be6acb7/keepalive"
)

// replica copies the journal of a primary.
type replica struct {
	dialer  keepalive.Dialer
	primary string
	journal journal
}

func newReplica(address string, o options) *replica {
	return &replica{dialer: keepalive.Dialer{Config: o.policy}, primary: address}
}

func (r *replica) dial(ctx context.Context) (net.Conn, error) {
	conn, err := r.dialer.DialContext(ctx, "tcp", r.primary)
	if err != nil {
		return nil, sideError(ctx, "replica", err)
	}
	return conn, nil
}

// follow asks for record after record until the replica holds that many. It only
// reads while the primary has none, so that nothing is in flight: keepalive
// probes nothing else than an idle connection.
func (r *replica) follow(ctx context.Context, conn net.Conn, records int) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReader(conn)
	for len(r.journal) < records {
		if err := writeRequest(conn, r.journal.last()); err != nil {
			return sideError(ctx, "replica", err)
		}
		err := readAnswer(in, r.journal.add)
		if errors.Is(err, io.EOF) {
			err = errors.New("the primary closed the connection")
		}
		if err != nil {
			return sideError(ctx, "replica", err)
		}
	}
	return nil
}

// sideError returns the end of ctx where that is the reason, since a closed
// connection is then only how it was noticed.
func sideError(ctx context.Context, side string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s: %w", side, err)
}
