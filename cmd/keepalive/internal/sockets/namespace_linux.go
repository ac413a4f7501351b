package sockets

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A namespace is a network namespace. A socket stays in the one where it was made,
// whichever its process is in.
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
	for _, key := range []uint64{key, opened.inode} {
		if key != 0 {
			ns.known[key] = opened
		}
	}
	return opened
}

// byInode returns a namespace that was met, or nil.
func (ns *namespaces) byInode(inode uint64) *namespace {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.known[inode]
}

// ofProcess returns the namespace that a process is in, or nil where that can't
// be found out.
func (ns *namespaces) ofProcess(pid int) *namespace {
	dir := "/proc/" + strconv.Itoa(pid)
	n, err := ns.at(dir + "/ns/net")
	if !isGone(err) {
		return n
	}
	threads, _ := numbersIn(dir + "/task") // the main one may have ended
	for _, thread := range threads {
		if n, err := ns.at(dir + "/task/" + strconv.Itoa(thread) + "/ns/net"); err == nil {
			return n
		}
	}
	return nil
}

// at returns the namespace that a file leads to.
func (ns *namespaces) at(path string) (*namespace, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return nil, err
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if n := ns.known[stat.Ino]; n != nil {
		return n, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	n, err := newNamespace(file)
	if err != nil {
		file.Close()
		return nil, err
	}
	if known := ns.known[n.inode]; known != nil { // another one since
		file.Close()
		return known, nil
	}
	ns.known[n.inode] = n
	return n, nil
}

// newNamespace returns the namespace that a file is.
func newNamespace(file *os.File) (*namespace, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil || int64(fs.Type) != unix.NSFS_MAGIC {
		return nil, os.NewSyscallError("fstatfs", cmp.Or(err, error(unix.EINVAL)))
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	return &namespace{file: file, inode: stat.Ino}, nil
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
