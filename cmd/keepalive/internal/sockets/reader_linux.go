package sockets

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Reader duplicates the sockets of a [Found], one at a time. One goroutine uses
// it, and others may use other Readers of the same Found.
type Reader struct {
	found    *Found
	table    int32 // index of the table that pidfd is for
	pidfd    int
	refused  map[int32]bool // tables
	refusals []Refusal

	// For All: a remote address of a socket that is connecting may be as old as
	// the Reader.
	cached  bool
	remotes map[*namespace]map[uint32]netip.AddrPort
}

// NewReader returns a Reader. Close it.
func (f *Found) NewReader() *Reader {
	return &Reader{found: f, table: -1, pidfd: -1, refused: make(map[int32]bool)}
}

// Close closes what the Reader holds open.
func (r *Reader) Close() {
	r.leaveTable()
	r.found.addRefusals(r.refusals)
	r.refusals = nil
}

func (r *Reader) leaveTable() {
	if r.pidfd >= 0 {
		unix.Close(r.pidfd)
	}
	r.pidfd, r.table = -1, -1
}

// Read calls visit with socket i, which is open meanwhile. It does nothing where
// that is no TCP socket or is gone, or where it can't be read, which
// [Found.Refusals] has.
func (r *Reader) Read(i int, visit func(*Socket)) {
	refs := r.found.refsOf(r.found.refs[i].inode)
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
		if s.State == synSent {
			s.Remote = inZone(r.connectingTo(&s, refs[0].inode), s.Local)
		}
		if err = s.get(); err == nil {
			s.setTimer(r.timer(&s, refs[0].inode))
		}
	}
	if err != nil {
		refusal := explain(r.found.tables[refs[0].table].PID, err)
		refusal.Reason = err.Error()
		r.refusals = append(r.refusals, refusal)
	}
	if !ok || err != nil {
		return
	}
	s.Holders = r.found.holders(refs, nil)
	visit(&s)
}

// Open calls visit with a descriptor of socket i, which is open meanwhile. It returns
// false where that is gone or can't be opened, which [Found.Refusals] has.
func (r *Reader) Open(i int, visit func(fd int)) bool {
	fd := r.duplicate(r.found.refsOf(r.found.refs[i].inode))
	if fd < 0 {
		return false
	}
	defer unix.Close(fd)
	visit(fd)
	return true
}

// timer returns the timer of a socket, which may be as old as the Reader's Found
// if that is good enough.
func (r *Reader) timer(s *Socket, inode uint32) Timer {
	if r.cached && r.found.census.counts[s.namespace] != nil {
		return r.found.timer(s, inode)
	}
	return s.readTimer()
}

// connectingTo returns the address that a socket connects to, which
// getpeername(2) does not tell. It is zero where it can't be found out.
func (r *Reader) connectingTo(s *Socket, inode uint32) netip.AddrPort {
	if remotes, ok := r.remotes[s.namespace]; ok && r.cached {
		return remotes[inode]
	}
	remotes := make(map[uint32]netip.AddrPort)
	s.namespace.do(func() error {
		return dump(1<<synSent, func(c diagSocket) { remotes[c.inode()] = c.remote() })
	})
	if r.remotes == nil {
		r.remotes = make(map[*namespace]map[uint32]netip.AddrPort)
	}
	r.remotes[s.namespace] = remotes
	return remotes[inode]
}

// duplicate returns a descriptor of a socket from the first table that lets it,
// or -1.
func (r *Reader) duplicate(refs []ref) int {
	for _, ref := range refs {
		if r.refused[ref.table] {
			continue
		}
		fd, err := r.getfd(ref)
		if err == nil {
			return fd
		}
		if !isGone(err) {
			r.refused[ref.table] = true
			r.refusals = append(r.refusals, explain(r.found.tables[ref.table].PID, err))
		}
	}
	return -1
}

func (r *Reader) getfd(ref ref) (fd int, err error) {
	if r.table != ref.table {
		r.leaveTable()
		pidfd, err := openThread(r.found.tables[ref.table])
		if err != nil {
			return -1, err
		}
		r.pidfd, r.table = pidfd, ref.table
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
	if err := unix.Fstat(fd, &stat); err != nil || stat.Ino != uint64(ref.inode) {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// openThread returns a pidfd of the thread that has a table.
func openThread(t table) (pidfd int, err error) {
	const pidfdThread = unix.O_EXCL // PIDFD_THREAD
	if t.thread == t.PID {
		pidfd, err = unix.PidfdOpen(t.PID, 0)
	} else {
		pidfd, err = unix.PidfdOpen(t.thread, pidfdThread)
	}
	switch {
	case err == nil:
		return pidfd, nil
	case err == unix.EINVAL && t.thread == t.PID:
		return -1, unix.ESRCH // the id is that of a thread now
	case err == unix.EINVAL:
		return -1, fmt.Errorf("%w (%w)", errNoThreads, os.NewSyscallError("pidfd_open", err))
	}
	return -1, os.NewSyscallError("pidfd_open", err)
}

// errNoThreads is the reason for a [Refusal].
var errNoThreads = errors.New("a thread of it has descriptors of its own, which take Linux 6.9")

// identify finds out what the socket is. It returns false where it is not TCP's.
func (s *Socket) identify() (ok bool, err error) {
	protocol, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return false, os.NewSyscallError("getsockopt SO_PROTOCOL", err)
	}
	// Raw sockets can have the protocol of TCP, and other domains its number.
	kind, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return false, os.NewSyscallError("getsockopt SO_TYPE", err)
	}
	domain, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_INET && domain != unix.AF_INET6 {
		return false, os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	s.MPTCP = protocol == unix.IPPROTO_MPTCP
	// The state is the first byte.
	state, err := unix.GetsockoptByte(s.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return false, os.NewSyscallError("getsockopt TCP_INFO", err)
	}
	s.State = State(state)
	if s.Local, err = address(s.fd, unix.SYS_GETSOCKNAME); err != nil {
		return false, err
	}
	if s.Remote, err = address(s.fd, unix.SYS_GETPEERNAME); err != nil {
		return false, err
	}
	if s.Cookie, err = unix.GetsockoptUint64(s.fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return false, os.NewSyscallError("getsockopt SO_COOKIE", err)
	}
	if device, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err == nil { // Linux 5.1
		s.device = uint32(device)
	}
	return true, nil
}
