package sockets

import (
	"os"

	"golang.org/x/sys/unix"
)

// Reader duplicates the sockets of a [Found], one at a time. One goroutine uses
// it, and others may use other Readers of the same Found.
type Reader struct {
	found    *Found
	process  int32 // index of the process that pidfd is of
	pidfd    int
	refused  map[int32]bool // processes
	refusals []Refusal
}

// NewReader returns a Reader. Close it.
func (f *Found) NewReader() *Reader {
	return &Reader{found: f, process: -1, pidfd: -1, refused: make(map[int32]bool)}
}

// Close closes what the Reader holds open.
func (r *Reader) Close() {
	r.leaveProcess()
	r.found.addRefusals(r.refusals)
	r.refusals = nil
}

func (r *Reader) leaveProcess() {
	if r.pidfd >= 0 {
		unix.Close(r.pidfd)
	}
	r.pidfd, r.process = -1, -1
}

// Read calls visit with socket i, which is open meanwhile. It does nothing where
// that is no TCP socket or is gone, or where it can't be read, which
// [Found.Refusals] has.
func (r *Reader) Read(i int, visit func(*Socket)) {
	refs := r.found.refsOf(i)
	fd := r.duplicate(refs)
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	s := Socket{Index: i, fd: fd}
	ok, err := s.identify()
	if ok {
		s.namespace = r.found.namespaces.of(fd)
		s.NetNS = s.namespace.inode
		err = s.Get()
	}
	if err != nil {
		refusal := explain(r.found.processes[refs[0].process].PID, err)
		refusal.Reason = err.Error()
		r.refusals = append(r.refusals, refusal)
	}
	if !ok || err != nil {
		return
	}
	for _, ref := range refs {
		s.Holders = append(s.Holders, Holder{r.found.processes[ref.process], int(ref.fd)})
	}
	visit(&s)
}

// duplicate returns a descriptor of a socket from the first process that lets
// it, or -1.
func (r *Reader) duplicate(refs []ref) int {
	for _, ref := range refs {
		if r.refused[ref.process] {
			continue
		}
		fd, err := r.getfd(ref)
		if err == nil {
			return fd
		}
		if !isGone(err) {
			r.refused[ref.process] = true
			r.refusals = append(r.refusals, explain(r.found.processes[ref.process].PID, err))
		}
	}
	return -1
}

func (r *Reader) getfd(ref ref) (fd int, err error) {
	if r.process != ref.process {
		r.leaveProcess()
		pidfd, err := unix.PidfdOpen(r.found.processes[ref.process].PID, 0)
		if err != nil {
			return -1, os.NewSyscallError("pidfd_open", err)
		}
		r.pidfd, r.process = pidfd, ref.process
	}
	fd, err = unix.PidfdGetfd(r.pidfd, int(ref.fd), 0)
	if err == unix.EBADF {
		return -1, unix.ESRCH
	}
	if err != nil {
		return -1, os.NewSyscallError("pidfd_getfd", err)
	}
	// The process may have closed the descriptor and opened another since,
	// and its id may be that of another process now.
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Ino != ref.inode {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// identify finds out what the socket is. It returns false where it is not TCP's.
func (s *Socket) identify() (ok bool, err error) {
	if s.Local, err = address(s.fd, unix.SYS_GETSOCKNAME); err != nil || !s.Local.IsValid() {
		return false, err
	}
	protocol, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return false, os.NewSyscallError("getsockopt SO_PROTOCOL", err)
	}
	s.MPTCP = protocol == unix.IPPROTO_MPTCP
	// The state is the first byte.
	state, err := unix.GetsockoptByte(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false, os.NewSyscallError("getsockopt TCP_INFO", err)
	}
	s.State = State(state)
	s.Remote, err = address(s.fd, unix.SYS_GETPEERNAME)
	return true, err
}
