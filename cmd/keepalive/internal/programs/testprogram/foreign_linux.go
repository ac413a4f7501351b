package main

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// udp opens a UDP socket.
func udp() error {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return conn.Close()
}

// x32 asks for a TCP socket by the number that a program for x32 uses.
func x32() error {
	const x32Bit = 0x40000000
	_, _, errno := unix.Syscall(x32Bit|unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	fmt.Println(errno)
	return nil
}
