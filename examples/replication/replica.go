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

// replica copies the records of a primary.
type replica struct {
	dialer  keepalive.Dialer
	primary string // its address
	records store

	connected func(net.Conn) // called for each connection
	lost      func(error)    // called when one is lost
}

// store is where a replica keeps its records.
type store interface {
	last() uint64     // the number of the last record, 0 if there is none
	add(record) error // keeps the next record, and takes no other
}

// run copies records until the replica holds that many. If the kernel gives the
// primary up, run dials again, and resumes after the last record that it holds.
// It returns any other error.
//
// The primary of this example is back at once. Where that takes a while, dialing
// fails, and a program waits and tries again.
func (r *replica) run(ctx context.Context, records uint64) error {
	for {
		err := r.follow(ctx, records)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx) // a closed connection is how it was noticed
		case !keepalive.IsPeerLost(err):
			return fmt.Errorf("replica: %w", err)
		}
		r.lost(err)
	}
}

// follow copies records over a connection of its own. While the primary has none,
// it only reads: nothing is in flight then, and keepalive probes the primary.
func (r *replica) follow(ctx context.Context, records uint64) error {
	conn, err := r.dialer.DialContext(ctx, "tcp", r.primary)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r.connected(conn)
	in := bufio.NewReader(conn)
	for r.records.last() < records {
		if err := writeRequest(conn, r.records.last()); err != nil {
			return err
		}
		err := readAnswer(in, r.records.add)
		if errors.Is(err, io.EOF) {
			err = errors.New("the primary closed the connection")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
