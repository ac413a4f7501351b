package seccomppolicy

import (
	"encoding/binary"
	"errors"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/seed-7be6acb7/keepalive/internal/policy"
)

// proceed has the kernel go on with the call.
func proceed(n *notification) response {
	return response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
}

func fail(n *notification, err error) response {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		errno = unix.EIO
	}
	return response{id: n.id, errno: -int32(errno)}
}

// leave lets the program make a socket of its own, which is not guarded.
func (s *Server) leave(n *notification, why string) response {
	if s.listener.isValid(n.id) { // the thread has not been killed meanwhile, which may be why
		s.notes.left(n.tid, why)
	}
	return proceed(n)
}

// answerSocket makes a socket in place of the thread.
func (s *Server) answerSocket(own *origin, n *notification) response {
	var fd int
	var err error
	switch why := own.differs(n.tid); why {
	case "":
		if fd, err = s.policy.socket(n); errors.Is(err, unix.EMFILE) {
			own.forget()
			fd, err = s.policy.socket(n)
		}
	case otherNamespace:
		if fd, err = s.socketElsewhere(own, n); errors.Is(err, errNotEntered) {
			return s.leave(n, why)
		}
	default:
		return s.leave(n, why)
	}
	if errors.Is(err, unix.EMFILE) { // the limit of this process, not that of the program
		return s.leave(n, "keepalive has too many open files")
	}
	if err != nil {
		return fail(n, err)
	}
	defer unix.Close(fd)
	var flags uint32
	if n.args[1]&unix.SOCK_CLOEXEC != 0 {
		flags = unix.O_CLOEXEC
	}
	number, errno := s.listener.add(n.id, fd, flags)
	if errno != 0 {
		return fail(n, errno)
	}
	return response{id: n.id, value: int64(number)}
}

// socket makes the socket that a thread has asked for.
func (p *Policy) socket(n *notification) (fd int, err error) {
	protocol := int(int32(n.args[2]))
	fd, err = unix.Socket(int(int32(n.args[0])), int(int32(n.args[1]))|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, err
	}
	if err = policy.SetUnconnected(uintptr(fd), p.config); err != nil {
		unix.Close(fd)
		if protocol == unix.IPPROTO_MPTCP {
			err = unix.EPROTONOSUPPORT // so that the program falls back to TCP
		}
		return -1, err
	}
	return fd, nil
}

// errNotEntered is that this process may not enter a namespace.
var errNotEntered = errors.New("namespace not entered")

// socketElsewhere makes a socket in the network namespace of the thread, by a
// thread that enters it and ends then.
func (s *Server) socketElsewhere(own *origin, n *notification) (fd int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		if err = enter(own.proc, n.tid); err != nil {
			return
		}
		there := origin{}
		if !there.become(own.uid, own.gid) {
			err = errNotEntered
			return
		}
		fd, err = s.policy.socket(n)
	}()
	<-done
	return fd, err
}

func enter(proc int, tid uint32) error {
	namespace, err := unix.Openat(proc, strconv.Itoa(int(tid))+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errNotEntered
	}
	defer unix.Close(namespace)
	if unix.Setns(namespace, unix.CLONE_NEWNET) != nil {
		return errNotEntered
	}
	return nil
}

// answerForeign refuses TCP sockets to programs of another ABI, whose setsockopt(2)
// the filter does not know.
func (s *Server) answerForeign(n *notification) response {
	if n.arch == unix.AUDIT_ARCH_I386 && n.nr == native.foreign[0].socketcall && !isTCP(socketcallArguments(n)) {
		return proceed(n)
	}
	if s.listener.isValid(n.id) {
		s.notes.foreign(n.tid)
	}
	return fail(n, unix.ENOSYS)
}

// socketcallArguments returns those of the socket(2) in a socketcall(2), or those
// of a TCP socket where they can't be read.
func socketcallArguments(n *notification) (domain, typ, protocol uint32) {
	var arguments [12]byte
	local := unix.Iovec{Base: &arguments[0]}
	local.SetLen(len(arguments))
	remote := unix.RemoteIovec{Base: uintptr(uint32(n.args[1])), Len: len(arguments)}
	read, err := unix.ProcessVMReadv(int(n.tid), []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
	if err != nil || read != len(arguments) {
		return unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(arguments[4*i:]) }
	return word(0), word(1), word(2)
}

func isTCP(domain, typ, protocol uint32) bool {
	return (domain == unix.AF_INET || domain == unix.AF_INET6) && typ&sockTypeMask == unix.SOCK_STREAM &&
		(protocol == 0 || protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_MPTCP)
}
