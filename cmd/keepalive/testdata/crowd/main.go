// Crowd holds connections to itself, as many as its argument says.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
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
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	conns := make([]net.Conn, 0, 2*n)
	for range n {
		dialed, err := net.Dial("tcp4", ln.Addr().String())
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
