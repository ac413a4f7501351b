// Goserver accepts connections as a Go program does that cares for nothing, reads
// them to the end, and prints how each ended.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	ln, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		conn, err := ln.Accept()
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("accepted")
		go func() {
			_, err := io.Copy(io.Discard, conn)
			conn.Close()
			fmt.Println("ended:", err)
		}()
	}
}
