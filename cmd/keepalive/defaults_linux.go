package main

import (
	"errors"
	"fmt"
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
program, such as one in a container. That needs CAP_SYS_ADMIN.`,
		Example: `  keepalive defaults
  keepalive defaults --pid "$(docker inspect -f '{{.State.Pid}}' web)"`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := term.New(c.OutOrStdout())
			if !c.Flags().Changed("pid") {
				return printDefaults(out)
			}
			if pid <= 0 {
				return usageError{fmt.Errorf("--pid is %d, want the id of a process that runs", pid)}
			}
			return inNetworkOf(pid, func() error { return printDefaults(out) })
		},
	}
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

func printDefaults(out term.Output) error {
	files := filesApply()
	t := term.Table{{Heading: "SYSCTL"}, {Heading: "VALUE", Right: true}, {}, {Heading: "SET BY"}}
	for _, s := range sysctls {
		name := "net.ipv4." + s.name
		value, err := sysctl.Int(s.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			t.Append(name, unknown, "", "nobody: this kernel lacks it, or /proc hides it")
		case err != nil:
			t.Append(name, unknown, "", err.Error())
		case files:
			t.Append(name, strconv.Itoa(value), s.unit, origin(name, value, s.boot))
		case value == s.boot:
			t.Append(name, strconv.Itoa(value), s.unit, "the kernel")
		default:
			t.Append(name, strconv.Itoa(value), s.unit, "somebody in this network namespace")
		}
	}
	t.PrintWhole(out)
	if !files {
		for _, line := range term.Wrap("\nThis network namespace is not the first one of the machine: files of sysctl.d(5) do not set its values.", out.Width) {
			fmt.Fprint(out, line)
		}
	}
	fmt.Fprintln(out)
	t = term.Table{{Heading: "POLICY"}, {}, {Heading: "UNNOTICED", Right: true}, {Heading: "IN FLIGHT", Right: true}}
	add := func(name string, c keepalive.Config) {
		idle, inFlight := unnoticed(c)
		t.Append(name, c.String(), idle, inFlight)
	}
	add("sysctl", keepalive.SystemDefaults())
	if goes, err := ofGo(); err != nil {
		t.Append("Go's net", err.Error(), unknown, unknown)
	} else {
		add("Go's net", goes)
	}
	add("none", keepalive.Config{Disable: true})
	t.PrintWhole(out)
	return nil
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
