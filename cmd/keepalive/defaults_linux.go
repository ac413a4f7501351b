package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sysctld"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
)

func newDefaults() *cobra.Command {
	return &cobra.Command{
		Use:   "defaults",
		Short: "Show the system's values, and what Go makes of them",
		Long: `Defaults prints the sysctls that the timing of a connection hangs on, with the
file of sysctl.d(5) that sets each at boot, if one does. Below it prints three
policies, and how long a dead peer goes unnoticed with each: on an idle
connection, and with data in flight.

    sysctl      of a program that asks for keepalive and leaves the timing alone
    Go's net    of a connection that a Go program dials, read back from one
    none        of a program that does not ask for keepalive

The sysctls are those of the network namespace that the command runs in.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return printDefaults(c.Context(), term.New(c.OutOrStdout()))
		},
	}
}

// sysctls are those that matter, each with the value that the kernel boots with.
var sysctls = []struct {
	name string
	boot int
	unit string
}{
	{"tcp_keepalive_time", 7200, "s"},
	{"tcp_keepalive_intvl", 75, "s"},
	{"tcp_keepalive_probes", 9, ""},
	{"tcp_retries2", 15, ""},
	{"tcp_rto_max_ms", 120000, "ms"},
}

func printDefaults(ctx context.Context, out term.Output) error {
	t := term.Table{{Heading: "SYSCTL"}, {Heading: "VALUE", Right: true}, {}, {Heading: "SET BY"}}
	for _, s := range sysctls {
		name := "net.ipv4." + s.name
		value, err := sysctl.Int(s.name)
		if errors.Is(err, fs.ErrNotExist) {
			t.Append(name, unknown, "", "nobody: this kernel lacks it, or /proc hides it")
			continue
		}
		if err != nil {
			t.Append(name, unknown, "", err.Error())
			continue
		}
		t.Append(name, strconv.Itoa(value), s.unit, origin(name, value, s.boot))
	}
	t.Print(out)
	fmt.Fprintln(out)
	goes, err := ofGo(ctx)
	if err != nil {
		return err
	}
	t = term.Table{{Heading: "POLICY"}, {}, {Heading: "UNNOTICED", Right: true}, {Heading: "IN FLIGHT", Right: true}}
	for _, p := range []struct {
		name   string
		config keepalive.Config
	}{
		{"sysctl", keepalive.SystemDefaults()},
		{"Go's net", goes},
		{"none", keepalive.Config{Disable: true}},
	} {
		idle, inFlight := unnoticed(p.config)
		t.Append(p.name, p.config.String(), idle, inFlight)
	}
	t.Print(out)
	return nil
}

// origin says where the value of a sysctl comes from.
func origin(name string, value, boot int) string {
	a, err := sysctld.Find(name)
	switch {
	case err != nil && a == nil:
		return err.Error()
	case a != nil && a.Value == strconv.Itoa(value):
		return a.String()
	case a != nil:
		return fmt.Sprintf("somebody since boot: %v sets %s", a, a.Value)
	case value != boot:
		return "somebody since boot: no file sets it"
	}
	return "the kernel: no file sets it"
}

// ofGo returns what Go's net sets on a connection, read back from one.
func ofGo(ctx context.Context) (keepalive.Config, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		ln, err = net.Listen("tcp", "[::1]:0")
	}
	if err != nil {
		return keepalive.Config{}, err
	}
	defer ln.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return keepalive.Config{}, err
	}
	defer conn.Close()
	return keepalive.Get(conn)
}

// unnoticed returns how long a dead peer goes unnoticed, idle and with data in
// flight.
func unnoticed(c keepalive.Config) (idle, inFlight string) {
	idle, inFlight = never, unknown
	if d, ok := c.DetectionTime(); ok {
		idle = duration.Format(d)
	}
	if d, ok := c.UnackedTime(); ok {
		inFlight = duration.Format(d)
	}
	return idle, inFlight
}
