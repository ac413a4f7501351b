// Threads holds a listening socket in its main thread, and in another thread a
// connection to itself: once the main thread has "ended", or with "own"
// descriptors.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
)

func init() { runtime.LockOSThread() } // main runs on the main thread

func main() {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() {
		runtime.LockOSThread()
		if os.Args[1] == "own" {
			err = syscall.Unshare(syscall.CLONE_FILES)
		}
		if err == nil {
			err = hold()
		}
		fmt.Println(err)
		os.Exit(1)
	}()
	if os.Args[1] == "ended" {
		syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // ends the thread alone
	}
	io.Copy(io.Discard, os.Stdin) // until the other end is closed
	ln.Close()
}

func hold() error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	dialed, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		return err
	}
	defer dialed.Close()
	accepted, err := ln.Accept()
	if err != nil {
		return err
	}
	defer accepted.Close()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
