package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/sysctld"
	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/term"
	"github.com/seed-7be6acb7/keepalive/internal/duration"
	"github.com/seed-7be6acb7/keepalive/internal/sysctl"
)

func newDefaults() *cobra.Command {
	var pid int
	var asJSON bool
	c := &cobra.Command{
		Use:   "defaults",
		Short: "Show the sysctls of TCP keepalive and the policies that result",
		Long: `Defaults prints the sysctls that the timing of a connection depends on, and the
file of sysctl.d(5) that sets each at boot, if one does. Then it prints three
policies, and how long a dead peer goes unnoticed with each: on an idle
connection, and with data in flight.

    sysctl      a program that turns keepalive on and sets no timing
    Go's net    a Go program that sets no timing
    none        a program that does not turn keepalive on

Each network namespace has its own values. A new one starts with the values of
the kernel, and the files of sysctl.d(5) set those of the machine's first one
alone. Defaults shows the namespace that it runs in, or with --pid that of a
program, such as one in a container. That needs CAP_SYS_ADMIN.

--json prints one object. Durations in "policies" are numbers of seconds, null
for "never" and "?".

    sysctls   of each: name, value, unit, set_by
    policies  of each: name, keepalive, the options that "keepalive ls --json"
              has, unnoticed_idle, unnoticed_in_flight`,
		Example: `  keepalive defaults
  keepalive defaults --pid "$(docker inspect -f '{{.State.Pid}}' web)"`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			print := func() error { return readDefaults().print(term.New(c.OutOrStdout())) }
			if asJSON {
				print = func() error { return readDefaults().printJSON(c.OutOrStdout()) }
			}
			if !c.Flags().Changed("pid") {
				return print()
			}
			if pid <= 0 {
				return usageError{fmt.Errorf("--pid is %d, want the id of a process that runs", pid)}
			}
			return inNetworkOf(pid, print)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	c.Flags().IntVar(&pid, "pid", 0, "show the network namespace of the process `P`")
	return c
}

// inNetworkOf runs f on a thread in the network namespace of a process.
func inNetworkOf(pid int, f func() error) error {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH):
		return fmt.Errorf("there is no process %d, or /proc hides it", pid)
	case err != nil:
		return fmt.Errorf("the network namespace of process %d can't be read: %w: it takes the rights of ptrace(2), such as CAP_SYS_PTRACE", pid, err)
	}
	defer file.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("the network namespace of process %d can't be entered: %w: it takes CAP_SYS_ADMIN", pid, err)
		} else {
			err = f()
		}
		done <- err
	}()
	return <-done
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

// systemDefaults are the sysctls and policies of a network namespace.
type systemDefaults struct {
	sysctls    []sysctlValue
	policies   []namedPolicy
	filesApply bool // whether the files of sysctl.d(5) set them at boot
}

type sysctlValue struct {
	name, unit string
	value      *int // nil where unknown
	setBy      string
}

type namedPolicy struct {
	name   string
	policy keepalive.Config
	err    error // why it is unknown
}

// readDefaults reads the defaults of the calling thread's network namespace.
func readDefaults() systemDefaults {
	d := systemDefaults{filesApply: filesApply()}
	for _, s := range sysctls {
		read := sysctlValue{name: "net.ipv4." + s.name, unit: s.unit}
		value, err := sysctl.Int(s.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			read.setBy = "nobody: this kernel lacks it, or /proc hides it"
		case err != nil:
			read.setBy = err.Error()
		case d.filesApply:
			read.value, read.setBy = &value, origin(read.name, value, s.boot)
		case value == s.boot:
			read.value, read.setBy = &value, "the kernel"
		default:
			read.value, read.setBy = &value, "somebody in this network namespace"
		}
		d.sysctls = append(d.sysctls, read)
	}
	goes, err := ofGo()
	d.policies = []namedPolicy{
		{name: "sysctl", policy: keepalive.SystemDefaults()},
		{name: "Go's net", policy: goes, err: err},
		{name: "none", policy: keepalive.Config{Disable: true}},
	}
	return d
}

func (d systemDefaults) print(out term.Output) error {
	t := term.Table{{Heading: "SYSCTL"}, {Heading: "VALUE", Right: true}, {}, {Heading: "SET BY"}}
	for _, s := range d.sysctls {
		if s.value == nil {
			t.Append(s.name, unknown, "", s.setBy)
		} else {
			t.Append(s.name, strconv.Itoa(*s.value), s.unit, s.setBy)
		}
	}
	t.PrintWhole(out)
	if !d.filesApply {
		for _, line := range term.Wrap("\nThis network namespace is not the first one of the machine: files of sysctl.d(5) do not set its values.", out.Width) {
			fmt.Fprint(out, line)
		}
	}
	fmt.Fprintln(out)
	t = term.Table{{Heading: "POLICY"}, {}, {Heading: "UNNOTICED", Right: true}, {Heading: "IN FLIGHT", Right: true}}
	for _, p := range d.policies {
		if p.err != nil {
			t.Append(p.name, p.err.Error(), unknown, unknown)
			continue
		}
		idle, inFlight := unnoticed(p.policy)
		t.Append(p.name, p.policy.String(), idle, inFlight)
	}
	t.PrintWhole(out)
	return nil
}

func (d systemDefaults) printJSON(out io.Writer) error {
	line := []byte(`{"sysctls":[`)
	for i, s := range d.sysctls {
		if i > 0 {
			line = append(line, ',')
		}
		line = appendString(append(line, `{"name":`...), s.name)
		line = append(line, `,"value":`...)
		if s.value == nil {
			line = append(line, null...)
		} else {
			line = strconv.AppendInt(line, int64(*s.value), 10)
		}
		line = appendString(append(line, `,"unit":`...), s.unit)
		line = append(appendString(append(line, `,"set_by":`...), s.setBy), '}')
	}
	line = append(line, `],"policies":[`...)
	first := true
	for _, p := range d.policies {
		if p.err != nil {
			continue
		}
		if !first {
			line = append(line, ',')
		}
		first = false
		line = append(appendString(append(line, `{"name":`...), p.name), ',')
		line = appendPolicy(line, p.policy)
		idle, noticed := p.policy.DetectionTime()
		line = appendSeconds(append(line, `,"unnoticed_idle":`...), idle, noticed)
		inFlight, known := p.policy.UnackedTime()
		line = append(appendSeconds(append(line, `,"unnoticed_in_flight":`...), inFlight, known), '}')
	}
	_, err := out.Write(append(line, "]}\n"...))
	return err
}

// filesApply reports whether the files of sysctl.d(5) set the values of the
// calling thread's network namespace. The first namespace, which they set, alone
// has the sysctls of net_core_table in net/core/sysctl_net_core.c.
func filesApply() bool {
	const dir = "/proc/sys/net/core/"
	_, err := os.Stat(dir + "netdev_max_backlog")
	_, other := os.Stat(dir + "somaxconn") // which all have
	return err == nil || other != nil
}

// origin says where the value of a sysctl of the first network namespace comes
// from.
func origin(name string, value, boot int) string {
	a, err := sysctld.Find(name)
	text := "the kernel: no file sets it"
	switch {
	case a == nil && value != boot:
		text = "somebody since boot: no file sets it"
	case a != nil:
		n, ok := a.Int()
		switch {
		case ok && n == value:
			text = a.String()
		case !ok && value == boot:
			text = fmt.Sprintf("the kernel: %v sets %q, which it refuses", a, a.Value)
		default:
			text = fmt.Sprintf("somebody since boot: %v sets %q", a, a.Value)
		}
	}
	if err != nil {
		text += " (" + strings.ReplaceAll(err.Error(), "\n", "; ") + ")"
	}
	return text
}

// ofGo returns what Go's net sets on each connection, read back from a socket. It
// needs no connection, and so no network device.
func ofGo() (keepalive.Config, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return keepalive.Config{}, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return keepalive.Config{}, err
	}
	defer conn.Close()
	// The values of zero fields are those of net.Dialer and net.ListenConfig.
	if err := conn.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}); err != nil {
		return keepalive.Config{}, err
	}
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
