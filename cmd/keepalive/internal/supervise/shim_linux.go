package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// shim is the name by which this process starts its own executable, which then
// becomes the program. Its arguments are a descriptor to close, the path of the
// program, and the arguments of the program, of which the first one is its name.
const shim = "keepalive-shim"

// init comes before main, so that the shim does nothing else.
func init() {
	if len(os.Args) > 3 && os.Args[0] == shim {
		fmt.Fprintf(os.Stderr, "keepalive run: %s: %v\n", os.Args[2], become(os.Args[1], os.Args[2], os.Args[3:]))
		const noExec = 126 // as env(1) has it
		os.Exit(noExec)
	}
}

// isActivated reports whether this process was given sockets as sd_listen_fds(3)
// explains. The program takes them if LISTEN_PID is its own process ID.
func isActivated() bool { return os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) }

// startByShim starts cmd with its own process ID in LISTEN_PID. It returns once
// the program runs, or could not be run: a signal that comes sooner would meet
// Go's runtime.
func startByShim(cmd *exec.Cmd) error {
	running, open, err := os.Pipe()
	if err != nil {
		return err
	}
	defer running.Close()
	defer open.Close()
	// As cmd.ExtraFiles it would be descriptor 3, the first socket.
	if _, err := unix.FcntlInt(open.Fd(), unix.F_SETFD, 0); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	cmd.Args = append([]string{shim, fmt.Sprint(open.Fd()), cmd.Path}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
	err = cmd.Start()
	if start, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("LISTEN_PID can't be handed on: %s: %w", start.Path, start.Err)
	}
	if err != nil {
		return err
	}
	open.Close()
	io.Copy(io.Discard, running)
	return nil
}

// become runs the program in this process. It returns where that fails.
func become(open, path string, argv []string) error {
	fd, err := strconv.Atoi(open)
	if err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	os.Unsetenv("LISTEN_PIDFDID") // which names run as LISTEN_PID did
	if err := dropGained(); err != nil {
		return err
	}
	return syscall.Exec(path, argv, os.Environ())
}

// dropGained gives up the user and the group of a set-user-ID or set-group-ID
// executable, which the shim has got once more.
func dropGained() error {
	uid, gid := unix.Getuid(), unix.Getgid()
	if gid != unix.Getegid() {
		if err := unix.Setresgid(gid, gid, gid); err != nil {
			return os.NewSyscallError("setresgid", err)
		}
	}
	if uid != unix.Geteuid() {
		return os.NewSyscallError("setresuid", unix.Setresuid(uid, uid, uid))
	}
	return nil
}
