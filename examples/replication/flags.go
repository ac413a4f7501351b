package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Parse parses args, in which nothing but flags is expected. It answers -h on
// stdout, and then returns flag.ErrHelp. Other errors say all that there is to
// say. flags has to continue on errors.
func Parse(flags *flag.FlagSet, args []string, stdout io.Writer) error {
	var usage bytes.Buffer
	flags.SetOutput(&usage)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		stdout.Write(usage.Bytes())
		return err
	}
	if err != nil {
		// Parse has written the error and then the usage.
		return errors.New(strings.TrimSpace(usage.String()))
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q, want flags only (-h explains them)", flags.Arg(0))
	}
	return nil
}
