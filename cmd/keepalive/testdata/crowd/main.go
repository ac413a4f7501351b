// Crowd holds connections to itself, as many as its argument says.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := crowd(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func crowd() error {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	// Keepalive is on, as ss shows its timers, and sends nothing meanwhile: probes
	// of so many at once would be lost on loopback, and make their peers suspect.
	silent := net.KeepAliveConfig{Enable: true, Idle: 2 * time.Hour}
	config, dialer := net.ListenConfig{KeepAliveConfig: silent}, net.Dialer{KeepAliveConfig: silent}
	ln, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	conns := make([]net.Conn, 0, 2*n)
	for range n {
		dialed, err := dialer.Dial("tcp4", ln.Addr().String())
		if err != nil {
			return err
		}
		accepted, err := ln.Accept()
		if err != nil {
			return err
		}
		conns = append(conns, dialed, accepted)
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin) // until the other end is closed
	for _, conn := range conns {
		conn.(*net.TCPConn).SetLinger(0) // leaves no TIME_WAIT
		conn.Close()
	}
	return err
}
