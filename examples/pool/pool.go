package main

import (
	"errors"
	"math"
	"net"
	"sync"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// A pool keeps connections for later, and hands out none whose server may be
// dead.
type pool struct {
	dial func() (net.Conn, error)

	// silence is how long a live server can be silent.
	silence time.Duration

	mu   sync.Mutex
	idle []net.Conn
}

// newPool returns a pool of connections to a server, all with one policy.
func newPool(network, address string, policy keepalive.Config) *pool {
	d := &keepalive.Dialer{Config: policy}
	p := &pool{dial: func() (net.Conn, error) { return d.Dial(network, address) }, silence: math.MaxInt64}
	if silence, ok := policy.DetectionTime(); ok {
		p.silence = silence / 8 * 9 // the kernel's timers may be 1/8 late
	}
	return p
}

// get returns the connection that was used last, or a new one.
func (p *pool) get() (net.Conn, error) {
	for conn := p.pop(); conn != nil; conn = p.pop() {
		if p.usable(conn) {
			return conn, nil
		}
		conn.Close()
	}
	return p.dial()
}

// usable asks the kernel, which takes one system call and sends nothing. Read
// still has to tell that a server has closed its end.
//
// A server that is silent for longer than the kernel waits for answers is not
// usable either. The kernel does not count probes that this machine drops.
func (p *pool) usable(conn net.Conn) bool {
	status, err := keepalive.Stat(conn)
	if errors.Is(err, errors.ErrUnsupported) {
		return true // not Linux, or a unix socket
	}
	return err == nil && status.Open && !status.Suspect() && status.SinceHeard() <= p.silence
}

func (p *pool) put(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, conn)
}

func (p *pool) pop() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	conn := p.idle[last]
	p.idle = p.idle[:last]
	return conn
}
