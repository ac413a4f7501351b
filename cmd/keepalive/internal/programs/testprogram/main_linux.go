// Testprogram is what the tests of keepalive run and attach have it run: a Go
// program that knows nothing of package keepalive, but to report what its sockets
// hold.
//
//	testprogram pair [-mptcp] [-own]    a connection to itself, with Go's defaults or KeepAliveConfig of its own
//	testprogram inherited               a connection to the listener that descriptor 3 is
//	testprogram signals N               the next N signals, a line each
//	testprogram lines [-tcp]            a connection to itself for each line of standard input, and all of them again; -tcp is without MPTCP listeners
//	testprogram calls                   what system calls about TCP sockets return
//	testprogram stress [-threads N] [-sockets N] [-idle S]    sockets that hold an idle time, by threads that signals interrupt
//	testprogram filtered FILE PROGRAM [ARGUMENT...]    another program, under a seccomp filter
//	testprogram become ID               a connection as another user and group
//	testprogram namespace               a socket in a network namespace of its own, and one in the old one
//	testprogram unshared                sockets that listen, of a thread with descriptors of its own, and one of the process
//	testprogram held PID                the options of each TCP socket of a process
//	testprogram iouring                 what a TCP socket holds that io_uring has made
//	testprogram uringset                what a TCP socket holds after io_uring has set 77 s
//	testprogram udp                     a UDP socket
//	testprogram x32                     what socket(2) of x32 returns
//	testprogram cost                    for each line of standard input, the nanoseconds that a connection takes, a median of 100
//	testprogram storm POLICY...         many connections for each line, and those of them that hold none of the policies
//	testprogram read ADDRESS            what a server says, until it says no more
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/test/sockstress"
)

func main() {
	flag.CommandLine.Parse(os.Args[2:])
	if err := programs[os.Args[1]](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var (
	mptcp = flag.Bool("mptcp", false, "")
	own   = flag.Bool("own", false, "")
	tcp   = flag.Bool("tcp", false, "")

	threads = flag.Int("threads", 64, "")
	count   = flag.Int("sockets", 1000, "")
	idle    = flag.Int("idle", 61, "")
)

var programs = map[string]func() error{
	"pair":      pair,
	"inherited": inherited,
	"signals":   signals,
	"lines":     lines,
	"calls":     calls,
	"stress":    stress,
	"filtered":  filtered,
	"become":    become,
	"namespace": namespace,
	"unshared":  unshared,
	"held":      held,
	"iouring":   iouring,
	"uringset":  uringset,
	"udp":       udp,
	"x32":       x32,
	"cost":      cost,
	"read":      read,
	"storm":     storm,
}

// ends are those of a connection.
type ends struct{ client, server net.Conn }

// connect connects to a listener of its own.
func connect() (ends, error) {
	var lc net.ListenConfig // Go makes it MPTCP, or TCP where that is refused
	lc.SetMultipathTCP(!*tcp)
	d := net.Dialer{Timeout: 10 * time.Second}
	d.SetMultipathTCP(*mptcp)
	if *own {
		lc.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 16 * time.Second, Count: 17}
		d.KeepAliveConfig = lc.KeepAliveConfig
	}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return ends{}, err
	}
	defer ln.Close()
	return dial(&d, ln)
}

func dial(d *net.Dialer, ln net.Listener) (ends, error) {
	client, err := d.Dial("tcp", ln.Addr().String())
	if err != nil {
		return ends{}, err
	}
	server, err := ln.Accept()
	return ends{client, server}, err
}

func (e ends) report() error {
	for _, conn := range []net.Conn{e.client, e.server} {
		held, err := keepalive.Get(conn)
		if err != nil {
			return err
		}
		multipath, err := conn.(*net.TCPConn).MultipathTCP()
		if err != nil {
			return err
		}
		fmt.Println(held, multipath)
	}
	return nil
}

func pair() error {
	e, err := connect()
	if err != nil {
		return err
	}
	return e.report()
}

func inherited() error {
	ln, err := net.FileListener(os.NewFile(3, ""))
	if err != nil {
		return err
	}
	e, err := dial(new(net.Dialer), ln)
	if err != nil {
		return err
	}
	return e.report()
}

func signals() error {
	n, err := strconv.Atoi(flag.Arg(0))
	if err != nil {
		return err
	}
	caught := make(chan os.Signal, 64)
	for s := syscall.Signal(1); s <= 64; s++ {
		if s != syscall.SIGURG && s != syscall.SIGCHLD { // Go's runtime sends SIGURG to itself
			signal.Notify(caught, s)
		}
	}
	fmt.Println("ready")
	for ; n > 0; n-- {
		fmt.Println(int((<-caught).(syscall.Signal)))
	}
	return nil
}

func lines() error {
	var all []ends
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		e, err := connect()
		if err != nil {
			return err
		}
		all = append(all, e)
		for _, e := range all {
			if err := e.report(); err != nil {
				return err
			}
		}
		fmt.Println("done")
	}
	return in.Err()
}

// stress waits for the end of standard input when it is done.
func stress() error {
	if err := sockstress.Run(*threads, *count, *idle); err != nil {
		return err
	}
	fmt.Println("done")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func read() error {
	conn, err := net.Dial("tcp", flag.Arg(0))
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}
