//go:build ignore && !keepalive_portable

package keepalive_test

import (
	"errors"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

// pool keeps connections for later, and hands out none whose server may be
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

// A connection pool that drops what the kernel finds suspect.
func ExampleStat_pool() {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	d := &keepalive.Dialer{Config: keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}}
	p := &pool{dial: func() (net.Conn, error) { return d.Dial("tcp", server.Addr().String()) }}

	first, err := p.get()
	if err != nil {
		log.Fatal(err)
	}
	p.put(first)
	second, err := p.get()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same:", second == first)
	p.put(second)

	crash(server)
	for usable(first) {
		time.Sleep(time.Millisecond) // until this side hears of it
	}
	third, err := p.get()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same:", third == first)
	third.Close()
	// Output:
	// the same: true
	// the same: false
}

// crash ends the connection that the server accepts next without a farewell.
func crash(server net.Listener) {
	conn, err := server.Accept()
	if err != nil {
		log.Fatal(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}
