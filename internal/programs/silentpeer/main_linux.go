// Silentpeer is a peer that falls silent, for tests of systems on which no test
// can make one.
//
//	silentpeer [-listen address]
//
// It prints the address that it listens on, and reads a line from each client:
// the address of a listener, to which it then connects, or nothing, which stands
// for the client's own connection. It writes one byte to that connection, waits
// until the byte has arrived, and drops every segment from then on, as if the
// machine had lost power.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"strings"
	"time"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"golang.org/x/sys/unix"
)

// patience is how long a client may take for its line, and the network for a
// connection and a byte.
const patience = 10 * time.Second

func main() {
	address := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	flag.Parse()
	ln, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ln.Addr())
	log.Fatal(serve(context.Background(), ln))
}

// serve serves clients until ln is closed, and holds silent connections until
// then or until ctx is done.
func serve(ctx context.Context, ln net.Listener) error {
	for {
		client, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			if err := fallSilent(ctx, client); err != nil {
				log.Print(err)
			}
		}()
	}
}

// fallSilent does what a client asks for and holds the connection until ctx is
// done.
func fallSilent(ctx context.Context, client net.Conn) error {
	client.SetDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(client).ReadString('\n')
	if err != nil {
		return err
	}
	conn := client
	if address := strings.TrimSpace(line); address != "" {
		if conn, err = net.DialTimeout("tcp", address, patience); err != nil {
			return err
		}
		defer conn.Close()
	}
	tcp := conn.(*net.TCPConn)
	tcp.SetLinger(0) // nobody would acknowledge its FIN
	if err := deliver(tcp); err != nil {
		return err
	}
	if err := netlab.Silence(tcp); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// deliver writes a byte and waits until it has arrived.
func deliver(conn *net.TCPConn) error {
	if _, err := conn.Write([]byte{'!'}); err != nil {
		return err
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	for giveUp := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var info *unix.TCPInfo
		var infoErr error
		if err := rc.Control(func(fd uintptr) {
			info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}); err != nil {
			return err
		}
		if infoErr != nil {
			return infoErr
		}
		if info.Unacked == 0 && info.Notsent_bytes == 0 {
			return nil
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("%v does not acknowledge a byte", conn.RemoteAddr())
		}
	}
}
