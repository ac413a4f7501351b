package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// perListener is how many connections share a destination. It stays well below
// the number of source ports, 28232 unless ip_local_port_range says otherwise, so
// that connect(2) finds a free one at once.
const perListener = 10_000

// A link is a connection, both ends of it.
type link struct {
	index            int // among those of this process
	number           int // among all
	dialed, accepted *net.TCPConn
}

// acceptedKeeps says which end of a link keeps it alive. It is the same for
// all links of a listener.
func acceptedKeeps(listener int) bool { return listener%2 == 0 }

// crowd is the links of this process. A goroutine reads at each end, as in a
// program that serves its connections with net.
type crowd struct {
	Task
	policy    keepalive.Config
	links     []link
	listeners int
	events    chan event
	readers   sync.WaitGroup
}

// event is what an end of a link has read: a message, or an error.
type event struct {
	link    *link
	dialed  bool
	at      time.Time
	message uint64
	err     error
}

func (e event) String() string {
	end := "accepted"
	if e.dialed {
		end = "dialed"
	}
	if e.err != nil {
		return fmt.Sprintf("the %s end of connection %d: %v", end, e.link.number, e.err)
	}
	return fmt.Sprintf("the %s end of connection %d: got message %d unasked", end, e.link.number, e.message)
}

func newCrowd(task Task, policy keepalive.Config) *crowd {
	return &crowd{
		Task:   task,
		policy: policy,
		links:  make([]link, task.Connections),
		// Half of the listeners have the policy.
		listeners: 2 * ((task.Connections + 2*perListener - 1) / (2 * perListener)),
		events:    make(chan event, 1024),
	}
}

// ends returns the end of l that keeps it alive, and the other one.
func (c *crowd) ends(l *link) (keeper, peer *net.TCPConn) {
	if acceptedKeeps(l.index % c.listeners) {
		return l.accepted, l.dialed
	}
	return l.dialed, l.accepted
}

// keeps reports whether e comes from the end that keeps its link alive.
func (c *crowd) keeps(e event) bool {
	return e.dialed != acceptedKeeps(e.link.index%c.listeners)
}

// open opens all links, those of each listener one after the other, and counts
// them. It takes an Idle, evenly, so that their probes are as spread over time as
// those of connections that nobody opened at once. It stops at the first error.
func (c *crowd) open(ctx context.Context, count *atomic.Int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, c.listeners)
	for i := range c.listeners {
		go func() { errs <- c.openAt(ctx, i, count) }()
	}
	var first error
	for range c.listeners {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

func (c *crowd) openAt(ctx context.Context, listener int, count *atomic.Int64) error {
	network := c.network(listener)
	ln, err := network.listen(ctx, "tcp4", c.address(listener))
	if err != nil {
		return err
	}
	defer ln.Close()
	start := time.Now()
	for i := listener; i < len(c.links); i += c.listeners {
		due := start.Add(c.policy.Idle / time.Duration(len(c.links)) * time.Duration(i))
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
		l := &c.links[i]
		l.index, l.number = i, c.First+i
		if err := c.openLink(ctx, l, network, ln); err != nil {
			return fmt.Errorf("connection %d: %w", l.number, err)
		}
		count.Add(1)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// address is another one for each listener of each process.
func (c *crowd) address(listener int) string {
	return fmt.Sprintf("127.%d.%d.%d:0", 1+c.Number/250, 1+c.Number%250, 1+listener)
}

// openLink is the only one to dial ln, so that the next connection accepted is
// the one that it has dialed.
func (c *crowd) openLink(ctx context.Context, l *link, network network, ln net.Listener) error {
	dialed, err := network.dial(ctx, "tcp4", ln.Addr().String())
	if err != nil {
		return err
	}
	l.dialed = dialed.(*net.TCPConn)
	accepted, err := ln.Accept()
	if err != nil {
		return err
	}
	l.accepted = accepted.(*net.TCPConn)
	c.readers.Go(func() { c.read(l) })
	c.readers.Go(func() { c.answer(l) })
	return c.verify(l)
}

// verify reads back what the kernel holds at both ends.
func (c *crowd) verify(l *link) error {
	keeper, peer := c.ends(l)
	held, err := keepalive.Get(keeper)
	if err != nil {
		return err
	}
	if c.On && held != c.policy || !c.On && !held.Disable {
		return fmt.Errorf("the kernel holds %v", held)
	}
	held, err = keepalive.Get(peer)
	if err == nil && !held.Disable {
		err = fmt.Errorf("the kernel holds %v for the peer", held)
	}
	return err
}

// network opens connections. Where it has no policy it does so without this
// module, so that the trial without keepalive has none of it.
type network struct {
	listen func(ctx context.Context, network, address string) (net.Listener, error)
	dial   keepalive.DialFunc
}

func (c *crowd) network(listener int) network {
	lc := &net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	nd := &net.Dialer{KeepAlive: -1}
	switch {
	case !c.On:
		return network{lc.Listen, nd.DialContext}
	case acceptedKeeps(listener):
		return network{(&keepalive.ListenConfig{NetListenConfig: lc, Config: c.policy}).Listen, nd.DialContext}
	default:
		return network{lc.Listen, (&keepalive.Dialer{NetDialer: nd, Config: c.policy}).DialContext}
	}
}

// read reports what the dialed end reads.
func (c *crowd) read(l *link) {
	for {
		message, err := readMessage(l.dialed)
		c.events <- event{l, true, time.Now(), message, err}
		if err != nil {
			return
		}
	}
}

// answer sends back what the accepted end reads, and closes it at the end.
func (c *crowd) answer(l *link) {
	for {
		message, err := readMessage(l.accepted)
		if err == nil {
			err = writeMessage(l.accepted, message)
		}
		if err != nil {
			at := time.Now()
			if errors.Is(err, io.EOF) {
				l.accepted.Close()
			}
			c.events <- event{l, false, at, 0, err}
			return
		}
	}
}

func readMessage(conn *net.TCPConn) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(conn, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

func writeMessage(conn *net.TCPConn, message uint64) error {
	_, err := conn.Write(binary.BigEndian.AppendUint64(nil, message))
	return err
}

// await hands events to handle, until it is done or until is closed.
func (c *crowd) await(ctx context.Context, until <-chan struct{}, handle func(event) (done bool)) error {
	for {
		select {
		case e := <-c.events:
			if handle(e) {
				return nil
			}
		case <-until:
			return ctx.Err()
		}
	}
}

// close ends all links at once, with a reset, so that the kernel need not keep
// what is left of them.
func (c *crowd) close() {
	for i := range c.links {
		for _, conn := range []*net.TCPConn{c.links[i].dialed, c.links[i].accepted} {
			if conn != nil {
				conn.SetLinger(0)
				conn.Close()
			}
		}
	}
	go func() {
		c.readers.Wait()
		close(c.events)
	}()
	for range c.events {
	}
}
