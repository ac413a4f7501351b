// Command pool shows a connection pool that hands out no connection whose server
// may be dead. It crashes a server while a connection to it is in the pool.
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/seed-7be6acb7/keepalive"
)

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(out io.Writer) error {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	policy := keepalive.Config{Idle: 60 * time.Second, Interval: 5 * time.Second, Count: 3}
	p := newPool("tcp", server.Addr().String(), policy)

	first, err := p.get()
	if err != nil {
		return err
	}
	defer first.Close()
	if _, err := keepalive.Stat(first); err != nil {
		return err
	}
	p.put(first)
	second, err := p.get()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "the same connection:", second == first)
	p.put(second)

	if err := crash(server, func() bool { return !p.usable(first) }); err != nil {
		return err
	}
	third, err := p.get()
	if err != nil {
		return err
	}
	defer third.Close()
	fmt.Fprintln(out, "the same connection after the server has crashed:", third == first)
	return nil
}

// crash resets the connection that the server accepts next, and waits until this
// end has noticed.
func crash(server net.Listener, noticed func() bool) error {
	conn, err := server.Accept()
	if err != nil {
		return err
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
	for deadline := time.Now().Add(10 * time.Second); !noticed(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("the reset has not arrived")
		}
	}
	return nil
}
