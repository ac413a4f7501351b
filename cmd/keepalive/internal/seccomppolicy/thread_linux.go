package seccomppolicy

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// A thread holds files below /proc/TID. Once the thread has ended they are of no
// use, also where another one has got its number.
type thread struct {
	dir    int
	net    int // the directory net
	groups int // the file cgroup, -1 on a kernel without control groups
	label  int // the file attr/current, -1 on a kernel without security modules
}

func openThread(proc int, tid uint32) (*thread, error) {
	t := &thread{-1, -1, -1, -1}
	var err error
	if t.dir, err = unix.Openat(proc, strconv.Itoa(int(tid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, err
	}
	t.net, err = unix.Openat(t.dir, "net", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		t.groups, err = t.open("cgroup")
	}
	if err == nil {
		t.label, err = t.open("attr/current")
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// open opens a file that a kernel may lack.
func (t *thread) open(name string) (int, error) {
	fd, err := unix.Openat(t.dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return -1, nil
	}
	return fd, err
}

func (t *thread) close() {
	for _, fd := range []int{t.dir, t.net, t.groups, t.label} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// A namespaceID is a file that each network namespace has of its own.
type namespaceID struct{ device, inode uint64 }

// namespace returns the thread's network namespace. Unlike /proc/TID/ns/net
// everybody can ask for /proc/TID/net/dev, also where the process is not dumpable,
// as one is that has given up the rights of root.
func (t *thread) namespace() (namespaceID, error) {
	var stat unix.Stat_t
	err := unix.Fstatat(t.net, "dev", &stat, 0)
	return namespaceID{uint64(stat.Dev), stat.Ino}, err
}

// read returns the start of a file, up to the length of the buffer.
func (*thread) read(fd int, buffer []byte) ([]byte, error) {
	if fd < 0 {
		return nil, nil
	}
	n, err := unix.Pread(fd, buffer, 0)
	return buffer[:max(n, 0)], err
}
