// Deadleader holds a connection to itself after its main thread has ended.
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
	go hold()
	syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // ends the thread alone
}

func hold() {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err == nil {
		var dialed, accepted net.Conn
		if dialed, err = net.Dial("tcp4", ln.Addr().String()); err == nil {
			defer dialed.Close()
			if accepted, err = ln.Accept(); err == nil {
				defer accepted.Close()
				fmt.Println("ready")
				_, err = io.Copy(io.Discard, os.Stdin) // until the other end is closed
			}
		}
	}
	if err != nil {
		fmt.Println(err)
	}
	os.Exit(0)
}
