package sockets

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A namespace is the network namespace of a socket. That of a process says
// nothing: a socket stays where it was made.
type namespace struct {
	inode uint64   // as lsns(8) shows it, 0 where it can't be read
	file  *os.File // nil where the caller is in it
	err   error    // why it can't be entered

	mu       sync.Mutex
	inFlight map[time.Duration]Unnoticed // by MaxRTO
}

// do runs f on a thread in the namespace.
func (n *namespace) do(f func() error) error {
	if n.err != nil {
		return n.err
	}
	if n.file == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		err := refusedNamespace("setns", unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET))
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func refusedNamespace(call string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.EPERM:
		return fmt.Errorf("another network namespace takes CAP_NET_ADMIN and CAP_SYS_ADMIN over it, which root has (%w)", os.NewSyscallError(call, err))
	}
	return os.NewSyscallError(call, err)
}

// namespaces are those met so far.
type namespaces struct {
	mu    sync.Mutex
	own   *namespace
	known map[uint64]*namespace // by cookie or inode
}

func newNamespaces() *namespaces {
	ns := &namespaces{own: new(namespace), known: make(map[uint64]*namespace)}
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &stat); err == nil {
		ns.own.inode = stat.Ino
		ns.known[stat.Ino] = ns.own
	}
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		if cookie, err := namespaceCookie(fd); err == nil {
			ns.known[cookie] = ns.own
		}
		unix.Close(fd)
	}
	return ns
}

// namespaceCookie returns the number that the kernel gives a namespace, which
// takes no right: Linux 5.14. Inodes of namespaces are above 2³¹.
func namespaceCookie(fd int) (uint64, error) {
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// of returns the namespace of a socket.
func (ns *namespaces) of(fd int) *namespace {
	key, err := namespaceCookie(fd)
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if err == nil && ns.known[key] != nil {
		return ns.known[key]
	}
	opened := openNamespace(fd)
	if err != nil {
		key = opened.inode
	}
	if known := ns.known[opened.inode]; known != nil {
		opened.close()
		opened = known
	}
	if key != 0 {
		ns.known[key] = opened
	}
	return opened
}

func openNamespace(fd int) *namespace {
	nsfd, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return &namespace{err: refusedNamespace("ioctl SIOCGSKNS", err)}
	}
	n := &namespace{file: os.NewFile(uintptr(nsfd), "net namespace")}
	var stat unix.Stat_t
	if err := unix.Fstat(nsfd, &stat); err == nil {
		n.inode = stat.Ino
	}
	return n
}

func (n *namespace) close() {
	if n.file != nil {
		n.file.Close()
	}
}

func (ns *namespaces) close() {
	for _, n := range ns.known {
		n.close()
	}
}
