package main

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"

	"github.com/seed-7be6acb7/keepalive/internal/test/netlab"
	"golang.org/x/sys/unix"
)

// workerVar is the environment variable that tells a process which worker it is
// of how many. Without it the process is the coordinator.
const workerVar = "SOAK_WORKER"

const (
	// spareFiles is how many files a worker may open beside its connections.
	spareFiles = 200
	// perWorker is how many connections a worker has at most. Its two listeners
	// have 28,232 source ports each (ip_local_port_range), and connect(2) takes
	// longer to find one of the last.
	perWorker = 20_000
)

// processes returns how many workers the connections need, each of which may
// open only so many files. Package os has raised the soft limit to the hard one.
func processes(connections int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	if limit.Cur < spareFiles+2 {
		return 0, fmt.Errorf("the hard limit of open files is %d, want at least %d: see ulimit -Hn, limits.conf(5), LimitNOFILE=", limit.Cur, spareFiles+2)
	}
	each := int(min((limit.Cur-spareFiles)/2, perWorker))
	return (connections + each - 1) / each, nil
}

// startWorker starts worker i of n in a network namespace of its own. The kernel
// kills it when the calling thread ends.
func startWorker(i, n int) (*rpc.Client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d/%d", workerVar, i, n))
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, err
	}
	netlab.Isolate(cmd)
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for the coordinator alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("worker in a network namespace: %w", err)
	}
	return rpc.NewClient(duplex{out, in}), nil
}

// serve calls the methods of a worker that the coordinator, at the other end of
// standard input and output, asks for.
func serve(o options, number string) error {
	var i, n int
	if _, err := fmt.Sscanf(number, "%d/%d", &i, &n); err != nil {
		return fmt.Errorf("%s=%s: %w", workerVar, number, err)
	}
	if err := netlab.Enter(); err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.Register(newWorker(o, i, n)); err != nil {
		return err
	}
	server.ServeConn(duplex{os.Stdin, os.Stdout})
	return nil
}

// duplex is a connection of two pipes.
type duplex struct {
	io.Reader
	io.WriteCloser
}
