package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/internal/netlab"
)

// primary serves its journal to one replica at a time. Its machine loses power
// once: when the replica has read half of the journal. The next connection finds
// it back, with all of its journal.
type primary struct {
	listener net.Listener
	journal  journal
	half     uint64

	outage chan outage
	dead   *net.TCPConn // the connection that the outage struck
}

type outage struct {
	since time.Time
	last  uint64 // the last record that the replica had read
}

func newPrimary(ctx context.Context, o options) (*primary, error) {
	lc := keepalive.ListenConfig{Config: o.policy}
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("primary: %w", err)
	}
	return &primary{
		listener: ln,
		journal:  newJournal(o.records),
		half:     uint64(o.records / 2),
		outage:   make(chan outage, 1),
	}, nil
}

func (p *primary) address() string {
	return p.listener.Addr().String()
}

// serve takes one connection after the other until ctx ends, which is no error.
func (p *primary) serve(ctx context.Context) error {
	defer p.close()
	defer context.AfterFunc(ctx, func() { p.listener.Close() })()
	for {
		err := p.serveNext(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("primary: %w", err)
		}
	}
}

func (p *primary) serveNext(ctx context.Context) error {
	conn, err := p.listener.Accept()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = p.answer(conn)
	if conn == p.dead {
		return nil // to close it would send a FIN, and give the outage away
	}
	conn.Close()
	return err
}

// answer answers requests until the replica closes the connection or the power
// goes.
func (p *primary) answer(conn net.Conn) error {
	for {
		after, err := readRequest(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if after >= p.half && p.dead == nil {
			return p.losePower(conn.(*net.TCPConn), after)
		}
		if after >= p.journal.last() {
			return fmt.Errorf("asked for what follows record %d, the last one is %d", after, p.journal.last())
		}
		if err := writeAnswer(conn, p.available().after(after, batch)); err != nil {
			return err
		}
	}
}

// available returns the records that exist so far. Until the outage that is half
// of them, so that the replica's next request finds nothing and the link idle.
func (p *primary) available() journal {
	if p.dead == nil {
		return p.journal[:p.half]
	}
	return p.journal
}

// losePower strikes when a request has arrived that can't be answered yet, since
// then no record is in flight: the request acknowledged them all. A record that
// was would be sent again and again, and every copy is a sign of life to the
// replica's kernel. The request itself needs no answer but the acknowledgement
// that this end's kernel still gives it, a fraction of a second late at most.
func (p *primary) losePower(conn *net.TCPConn, last uint64) error {
	if err := netlab.Silence(conn); err != nil {
		return err
	}
	p.dead = conn
	p.outage <- outage{time.Now(), last}
	return nil
}

func (p *primary) close() {
	p.listener.Close()
	if p.dead != nil {
		// Nobody answers a FIN at this end, so spare the kernel the waiting.
		p.dead.SetLinger(0)
		p.dead.Close()
	}
}
