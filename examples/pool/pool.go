package main

import (
	"errors"
	"net"
	"sync"

	"github.com/seed-7be6acb7/keepalive"
)

// A pool keeps connections for later, and hands out none whose server may be
// dead.
type pool struct {
	dial func() (net.Conn, error)

	mu   sync.Mutex
	idle []net.Conn
}

// get returns the connection that was used last, or a new one.
func (p *pool) get() (net.Conn, error) {
	for conn := p.pop(); conn != nil; conn = p.pop() {
		if usable(conn) {
			return conn, nil
		}
		conn.Close()
	}
	return p.dial()
}

// usable asks the kernel, which costs one system call, and nothing of the
// server. That a server has closed its end is for Read to tell, as ever.
func usable(conn net.Conn) bool {
	status, err := keepalive.Stat(conn)
	if errors.Is(err, errors.ErrUnsupported) {
		return true // not Linux, or a unix socket
	}
	return err == nil && status.Open && !status.Suspect()
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
