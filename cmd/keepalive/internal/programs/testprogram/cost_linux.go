package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// cost times connections over loopback, opened, accepted and closed by plain
// system calls.
func cost() error {
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if err := unix.Listen(ln, 1); err != nil {
		return err
	}
	address, err := unix.Getsockname(ln)
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		times := make([]time.Duration, 100)
		for i := range times {
			begin := time.Now()
			if err := connection(ln, address); err != nil {
				return err
			}
			times[i] = time.Since(begin)
		}
		slices.Sort(times)
		fmt.Println(times[len(times)/2].Nanoseconds())
	}
	return nil
}

func connection(ln int, address unix.Sockaddr) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(client)
	// Without TIME_WAIT.
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	if err := unix.Connect(client, address); err != nil {
		return err
	}
	server, _, err := unix.Accept4(ln, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(server)
}
