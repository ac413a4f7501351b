package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/seed-7be6acb7/keepalive"
)

// primary serves its records to replicas.
type primary struct {
	records source
	failed  func(error) // called for a connection that ends in an error
}

// source is where a primary has its records from.
type source interface {
	// after returns at most limit of the records that follow that number. It
	// waits until there are some, or ctx ends.
	after(ctx context.Context, number uint64, limit int) ([]record, error)
}

// listen returns a listener whose connections all have the policy: the kernel
// gives up a replica that has fallen silent, too, and its connection ends here.
func listen(ctx context.Context, address string, policy keepalive.Config) (net.Listener, error) {
	lc := keepalive.ListenConfig{Config: policy}
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	return ln, nil
}

// serve answers replicas until ctx ends, which is no error. It closes the
// listener and every connection.
func (p *primary) serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	context.AfterFunc(ctx, func() { ln.Close() })
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("primary: %w", err)
		}
		conns.Go(func() {
			if err := p.answer(ctx, conn); err != nil && ctx.Err() == nil {
				p.failed(fmt.Errorf("primary: %w", err))
			}
		})
	}
}

// answer answers requests until the replica closes the connection or ctx ends.
func (p *primary) answer(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		number, err := readRequest(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		records, err := p.records.after(ctx, number, batch)
		if err != nil {
			return err
		}
		if err := writeAnswer(conn, records); err != nil {
			return err
		}
	}
}
