package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// connection is both ends of a connection.
type connection struct {
	number   int          // among those of all workers
	prober   *net.TCPConn // has the policy
	peer     *net.TCPConn // has keepalive off
	silenced time.Time    // when the peer was silenced, or zero
	answered time.Time    // when the last answer of a silenced peer came
	echoed   bool         // the prober's message has come back
}

// event is what a prober has read: a message, or an error.
type event struct {
	*connection
	at      time.Time
	message uint64
	err     error
}

func (e event) Error() string {
	if e.err != nil {
		return fmt.Sprintf("connection %d: %v", e.number, e.err)
	}
	return fmt.Sprintf("connection %d: unexpected message %d", e.number, e.message)
}

// listener is where connections are opened: the accepted end is the prober, or
// the dialed end is.
type listener struct {
	net.Listener
	dial     keepalive.DialFunc
	accepted bool
}

func listen(policy keepalive.Config, accepted bool) (listener, error) {
	config, dialer := &net.ListenConfig{KeepAlive: -1}, &net.Dialer{KeepAlive: -1}
	config.SetMultipathTCP(false)
	listen, dial := config.Listen, (&keepalive.Dialer{NetDialer: dialer, Config: policy}).DialContext
	if accepted {
		listen, dial = (&keepalive.ListenConfig{NetListenConfig: config, Config: policy}).Listen, dialer.DialContext
	}
	ln, err := listen(context.Background(), "tcp4", "127.0.0.1:0")
	return listener{ln, dial, accepted}, err
}

// open opens c. Nobody else dials ln, so that it accepts what it has dialed.
func (c *connection) open(ln listener) error {
	d, err := ln.dial(context.Background(), "tcp4", ln.Addr().String())
	if err != nil {
		return err
	}
	a, err := ln.Accept()
	if err != nil {
		return errors.Join(err, d.Close())
	}
	c.prober, c.peer = d.(*net.TCPConn), a.(*net.TCPConn)
	if ln.accepted {
		c.prober, c.peer = c.peer, c.prober
	}
	return nil
}

// verify reads back what the kernel holds at both ends.
func (c *connection) verify(policy keepalive.Config) error {
	held, err := keepalive.Get(c.prober)
	if err != nil {
		return err
	}
	if held != policy {
		return fmt.Errorf("the kernel holds %v, want %v", held, policy)
	}
	held, err = keepalive.Get(c.peer)
	if err == nil && !held.Disable {
		err = fmt.Errorf("the kernel holds %v at the peer, want off", held)
	}
	return err
}

// read sends what the prober reads to events, until there is an error.
func (c *connection) read(events chan<- event) {
	for {
		var message uint64
		err := binary.Read(c.prober, binary.BigEndian, &message)
		events <- event{c, time.Now(), message, err}
		if err != nil {
			return
		}
	}
}

// echo reads a message at the peer and writes it back.
func (c *connection) echo(deadline time.Time) error {
	c.peer.SetReadDeadline(deadline)
	var message uint64
	if err := binary.Read(c.peer, binary.BigEndian, &message); err != nil {
		return err
	}
	return binary.Write(c.peer, binary.BigEndian, message)
}

// closePeer closes the peer, which has nothing left to read.
func (c *connection) closePeer(deadline time.Time) error {
	c.peer.SetReadDeadline(deadline)
	var message uint64
	err := binary.Read(c.peer, binary.BigEndian, &message)
	if err == nil {
		return fmt.Errorf("unexpected message %d at the peer", message)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return c.peer.Close()
}
