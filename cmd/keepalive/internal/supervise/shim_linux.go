package supervise

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/cmd/keepalive/internal/seccomppolicy"
)

// shim is the name by which this process starts its own executable, which then
// becomes the program. Its arguments are the descriptor of a socket, the path of
// the program, and the arguments of the program, of which the first one is its
// name. By the socket it gets a filter, which may be empty. For a filter it sends
// the listener and waits for an answer. It closes the socket as it becomes the
// program, or sends why it could not.
const shim = "keepalive-shim"

// init comes before main, so that the shim does nothing else.
func init() {
	if len(os.Args) > 3 && os.Args[0] == shim {
		runtime.LockOSThread() // which has the filter
		become(os.Args[1], os.Args[2], os.Args[3:])
		os.Exit(1)
	}
}

// isActivated reports whether this process was given sockets as sd_listen_fds(3)
// explains. The program takes them if LISTEN_PID is its own process ID.
func isActivated() bool { return os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid()) }

// startByShim starts cmd with its own process ID in LISTEN_PID, where this process
// finds itself there, and with a filter, unless f is nil. It returns once the
// program runs, or could not be run: a signal that comes sooner would meet Go's
// runtime. The thread has to live as long as the program.
func startByShim(cmd *exec.Cmd, f *filtered) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	ours, theirs := fds[0], fds[1]
	defer unix.Close(ours)
	// As cmd.ExtraFiles it would be descriptor 3, the first socket.
	_, err = unix.FcntlInt(uintptr(theirs), unix.F_SETFD, 0)
	program := cmd.Path
	if err == nil {
		cmd.Args = append([]string{shim, fmt.Sprint(theirs), program}, cmd.Args...)
		cmd.Path = "/proc/self/exe"
		err = cmd.Start()
	}
	unix.Close(theirs)
	if start, ok := errors.AsType[*os.PathError](err); ok {
		what := "LISTEN_PID can't be handed on"
		if f != nil {
			what = "the seccomp filter can't be installed"
		}
		return fmt.Errorf("%s: %s: %w", what, start.Path, start.Err)
	}
	if err != nil {
		return err
	}
	if err := f.converse(ours, cmd.Process.Pid, program); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if status.Signaled() && status.Signal() != unix.SIGKILL { // sent to the process group, say
			return Interrupted{status.Signal()}
		}
		return err
	}
	return nil
}

// converse speaks with the shim until that has become the program.
func (f *filtered) converse(shim, pid int, program string) error {
	if f == nil {
		if err := send(shim, encode(nil), -1); err != nil {
			return err
		}
	} else if err := f.install(shim, pid); err != nil {
		return err
	}
	failed, _, err := receive(shim)
	if err != nil || len(failed) == 0 {
		return err
	}
	if errno, err := strconv.Atoi(string(failed)); err == nil {
		return &os.PathError{Op: "fork/exec", Path: program, Err: syscall.Errno(errno)}
	}
	return errors.New(string(failed))
}

// install has the shim install the filter, and serves it.
func (f *filtered) install(shim, pid int) error {
	if err := send(shim, encode(f.policy.Filter()), -1); err != nil {
		return err
	}
	failed, listener, err := receive(shim)
	switch {
	case err != nil:
		return err
	case len(failed) == 0:
		return errors.New("the process that was to become the program has been killed")
	case listener < 0:
		return errors.New(string(failed))
	}
	if err := f.policy.CheckAccess(pid); err != nil {
		unix.Close(listener)
		return err
	}
	if f.server, err = f.policy.Serve(listener, Stderr); err != nil {
		return err
	}
	return send(shim, []byte(served), -1)
}

// served is what the shim and this process say once the filter is in force.
const served = "served"

// encode returns a filter as bytes, at least one.
func encode(filter []unix.SockFilter) []byte {
	message := []byte{0}
	for _, i := range filter {
		message = binary.NativeEndian.AppendUint16(message, i.Code)
		message = append(message, i.Jt, i.Jf)
		message = binary.NativeEndian.AppendUint32(message, i.K)
	}
	return message
}

// decode is the reverse of encode.
func decode(message []byte) (filter []unix.SockFilter) {
	const size = 8
	for i := 1; i+size <= len(message); i += size {
		b := message[i : i+size]
		filter = append(filter, unix.SockFilter{Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])})
	}
	return filter
}

// send sends a message, and a descriptor unless that is negative.
func send(socket int, message []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(socket, message, rights, nil, unix.MSG_NOSIGNAL))
}

// receive receives a message, which is empty if the other end is closed, and the
// descriptor that came with it, or -1.
func receive(socket int) (message []byte, fd int, err error) {
	message, rights := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4))
	for {
		n, size, _, _, err := unix.Recvmsg(socket, message, rights, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, -1, os.NewSyscallError("recvmsg", err)
		}
		return message[:n], descriptorIn(rights[:size]), nil
	}
}

func descriptorIn(rights []byte) int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return -1
	}
	return fds[0]
}

// become runs the program in this process. It returns where that fails, and has
// told why.
func become(descriptor, path string, argv []string) {
	socket, err := strconv.Atoi(descriptor)
	if err != nil {
		return
	}
	unix.CloseOnExec(socket)
	if os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getppid()) { // run was given sockets
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		os.Unsetenv("LISTEN_PIDFDID") // which names run as LISTEN_PID did
	}
	if err = prepare(socket); err == nil {
		err = syscall.Exec(path, argv, os.Environ())
	}
	failed := err.Error()
	if errno, ok := err.(syscall.Errno); ok { // of execve(2)
		failed = strconv.Itoa(int(errno))
	}
	send(socket, []byte(failed), -1)
}

// prepare takes from this process what the program is not to have.
func prepare(socket int) error {
	if err := dropGained(); err != nil {
		return err
	}
	message, _, err := receive(socket)
	if err != nil {
		return err
	}
	filter := decode(message)
	if len(filter) == 0 {
		return nil
	}
	// Without run the program could make no socket.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_PDEATHSIG", err)
	}
	listener, err := seccomppolicy.Install(filter)
	if err != nil {
		return err
	}
	err = send(socket, []byte(served), listener)
	unix.Close(listener) // where two processes have it, calls hang when one has ended
	if err != nil {
		return err
	}
	answer, _, err := receive(socket)
	if err == nil && string(answer) != served {
		err = errors.New("keepalive run has ended")
	}
	return err
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
