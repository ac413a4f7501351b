package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sockets"
)

// A finding is how a command finds sockets. The zero finding uses eBPF where the
// caller may.
type finding struct {
	reading sockets.Reading
	debug   bool
}

// addFlags defines the flags of a command. That for the reader is for tests, and not
// part of its interface.
func (f *finding) addFlags(c *cobra.Command) {
	c.Flags().Var(&f.reading, "reader", "how sockets are read, `bpf` or getfd")
	c.Flags().BoolVar(&f.debug, "debug", false, "print how sockets are read, and why not with eBPF")
	c.Flags().MarkHidden("reader")
}

// find finds the sockets.
func (f *finding) find(stderr io.Writer) (*sockets.Found, error) {
	found, err := sockets.Find(f.reading)
	if err != nil || !f.debug {
		return found, err
	}
	reading, fallback := found.Reading()
	fmt.Fprintf(stderr, "debug: sockets are read by %s", reading)
	if fallback != nil {
		fmt.Fprintf(stderr, ": %v", fallback)
	}
	fmt.Fprintln(stderr)
	return found, nil
}
