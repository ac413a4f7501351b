package benchpair

import (
	"net"
	"slices"
	"testing"
)

// Accept takes connections from the filled backlog of ln, a TCP listener.
func Accept(b testing.TB, name string, ln net.Listener) Contender {
	var conns connections
	return Contender{
		Name: name,
		Prepare: func(calls int) {
			for range calls {
				conn, err := net.Dial("tcp", ln.Addr().String())
				conns.add(b, conn, err)
			}
			conns = slices.Grow(conns, calls)
		},
		Do: func() {
			conn, err := ln.Accept()
			conns.add(b, conn, err)
		},
		Finish: func() { conns.reset() },
	}
}

// Dialer is what net.Dialer is.
type Dialer interface {
	Dial(network, address string) (net.Conn, error)
}

// Dial connects to ln by way of d. What ln accepts is left in its backlog while
// others are timed.
func Dial(b testing.TB, name string, d Dialer, ln net.Listener) Contender {
	var conns connections
	network, address := ln.Addr().Network(), ln.Addr().String()
	return Contender{
		Name:    name,
		Prepare: func(calls int) { conns = slices.Grow(conns, 2*calls) },
		Do: func() {
			conn, err := d.Dial(network, address)
			conns.add(b, conn, err)
		},
		Finish: func() {
			for range conns {
				conn, err := ln.Accept()
				conns.add(b, conn, err)
			}
			conns.reset()
		},
	}
}

type connections []net.Conn

func (c *connections) add(b testing.TB, conn net.Conn, err error) {
	NoError(b, err)
	*c = append(*c, conn)
}

// reset closes the connections in a way that leaves no TIME_WAIT.
func (c *connections) reset() {
	for _, conn := range *c {
		if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	*c = (*c)[:0]
}

// NoError is require.NoError without its cost, which would be timed.
func NoError(b testing.TB, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}
