// Tool is a program that a test of its runs.
package main

import "os"

func main() {
	if len(os.Args) > 1 {
		os.Exit(3)
	}
}
